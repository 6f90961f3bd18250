"""What a corpus source must supply. One file and one line in `CORPORA` make a source; nothing else asks."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from llm.config import Config
from llm.errors import CorpusError

LABEL = "label"
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """One example: `fields` by name ("text"; "source" and "target"; "text" and "label").

    All records of a `group` (a play, a component, an author) land in the same split, since near copies live there.
    """

    group: str
    fields: Mapping[str, str]

    @property
    def texts(self) -> list[str]:
        """The fields that are prose: all but the label."""
        return [value for name, value in self.fields.items() if name != LABEL]


# A step takes the records one after another and lets some of them through, unchanged and in their order.
Step = Callable[[Iterable[Record]], Iterator[Record]]


class SourceConfig(Config):
    """Base of every source's options; `source` is the name in `CORPORA`."""

    source: str


S_contra = TypeVar("S_contra", bound=SourceConfig, contravariant=True)


class Corpus(Protocol[S_contra]):
    """The contract; `tests/llm/corpora` runs it over every entry of `CORPORA`."""

    config: ClassVar[type[SourceConfig]]
    version: ClassVar[int]  # raised whenever the same content gives other records

    def fields(self, config: S_contra) -> tuple[str, ...]:
        """Names of the fields that every record holds."""

    def origin(self, config: S_contra) -> dict[str, Any]:
        """Where the text comes from and under which terms, for the manifest."""

    def content(self, config: S_contra) -> dict[str, str]:
        """SHA-256 by name of what will be read, without a download.

        Raises CorpusError when something of it is missing.
        """

    def records(self, config: S_contra, *, downloads: Path) -> Iterator[Record]:
        """The records, in an order that never changes; archives are kept in `downloads`.

        Raises DownloadError, ChecksumError, or CorpusError with file and line.
        """

    def steps(self, config: S_contra) -> Mapping[str, Step]:
        """Cleaning steps that only this source needs, by name; they come after the general ones."""


def short_hash(text: str) -> str:
    """16 hexadecimal digits that stand for a text: the group of a record that has no other, or a stable order."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def decode_utf8(data: bytes, *, where: str) -> str:
    """The text of `data`, without a byte order mark.

    Raises CorpusError with the offset of the first byte that is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts from behind the mark.
        start = error.start + (len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0)
        raise _not_utf8(where, data[start], offset=start) from None


def check_utf8(path: Path) -> None:
    """Read a file to its end in chunks.

    Raises CorpusError with the offset of the first byte that is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        position = 0
        while True:
            chunk = file.read(_CHUNK)
            pending = decoder.getstate()[0]
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # The decoder counts from the bytes that it had kept back.
                raise _not_utf8(
                    str(path), (pending + chunk)[error.start], offset=position - len(pending) + error.start
                ) from None
            if not chunk:
                return
            position += len(chunk)


def _not_utf8(where: str, byte: int, *, offset: int) -> CorpusError:
    return CorpusError(
        f"{where}: byte {offset} (0x{byte:02x}) is not UTF-8", remedy="convert the file to UTF-8, or leave it out"
    )
