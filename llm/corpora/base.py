"""What a corpus source must supply. One file and one line in `CORPORA` make a source; nothing else asks."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from llm.config import Config
from llm.errors import CorpusError
from llm.pieces import Piece

LABEL = "label"


@dataclass(slots=True)  # not frozen: cleaning puts repaired fields in, and to make a frozen one takes thrice the time
class Record:
    """One example: `fields` by name ("text"; "source" and "target"; "text" and "label").

    All records of a `group` (a play, a component, an author) land in the same split, since near copies live there; a
    record without a group is its own: its text is. `origin` is the file that it was read from, `position` its line or
    row there, from 1.
    """

    group: str | None
    fields: Mapping[str, str]
    origin: str = field(default="", compare=False)
    position: int = field(default=0, compare=False)

    @property
    def texts(self) -> list[str]:
        """The fields that are prose: all but the label."""
        return [value for name, value in self.fields.items() if name != LABEL]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A piece of a source that is no record: which `defect` it has, and the reason in words.

    `offset` counts bytes from the start of the (decompressed) file, where the reader knows it; `text` is its beginning.
    What is not `bad` was never meant to be a record, such as a string that nobody has translated yet.
    """

    defect: str
    reason: str
    origin: str
    position: int
    offset: int | None = None
    text: str = ""
    bad: bool = True


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that a step does not let through, and the reason in words."""

    record: Record
    reason: str


# A step takes the records one after another; each comes out as it went in, or dropped, in any order.
Step = Callable[[Iterable[Record]], Iterator[Record | Dropped]]


def each(check: Callable[[Record], str | None]) -> Step:
    """The step that looks at every record by itself: `check` gives the reason to drop it, or None."""

    def step(records: Iterable[Record]) -> Iterator[Record | Dropped]:
        for record in records:
            reason = check(record)
            yield record if reason is None else Dropped(record, reason)

    return step


# SHA-256 of a file, by whatever means; raises OSError when it cannot be read.
Checksum = Callable[[Path], str]
# (file, what the bytes of a piece may end with) -> its pieces, none where it is not large: see `llm.pieces`.
Pieces = Callable[[Path, re.Pattern[bytes]], Sequence[Piece]]


class SourceConfig(Config):
    """Base of every source's options; `source` is the name in `CORPORA`."""

    source: str


S_contra = TypeVar("S_contra", bound=SourceConfig, contravariant=True)


class Corpus(Protocol[S_contra]):
    """The contract; `tests/llm/corpora` runs it over every entry of `CORPORA`."""

    config: ClassVar[type[SourceConfig]]
    part: ClassVar[type[SourceConfig]]  # of the configs of parts
    version: ClassVar[int]  # raised whenever the same content gives other records
    shipped: ClassVar[bool]  # comes with Nightshift, for nights before there is data of one's own

    def fields(self, config: S_contra) -> tuple[str, ...]:
        """Names of the fields that every record holds."""

    def origin(self, config: S_contra) -> dict[str, Any]:
        """Where the text comes from and under which terms, for the manifest."""

    def parts(self, config: S_contra, *, pieces: Pieces) -> Mapping[str, SourceConfig]:
        """By name, configs that together read what `config` reads, each by itself: those unchanged are not read again.

        One part where a step needs to see all records. What reads line by line may cut a large file in `pieces`.
        """

    def size(self, config: S_contra) -> int:
        """Bytes of what a part reads, so that processes can share the parts; 0 where that is not known."""

    def content(self, config: S_contra, *, checksum: Checksum) -> dict[str, str]:
        """SHA-256 by name of what a part, or the whole, will read, without a download; `checksum` gives that of a file.

        Raises CorpusError when something of it is missing.
        """

    def records(self, config: S_contra, *, downloads: Path) -> Iterator[Record | Unreadable]:
        """The records, and what could not be read as one, in an order that never changes.

        Archives are kept in `downloads`. Raises DownloadError, ChecksumError, or CorpusError that names the file.
        """

    def steps(self, config: S_contra) -> Mapping[str, Step]:
        """Cleaning steps that only this source needs, by name; they come after the general ones."""


def short_hash(text: str) -> str:
    """16 hexadecimal digits that stand for a text: the group of a record that has no other, or a stable order."""
    return sha256_of_text(text)[:16]


def sha256_of_text(text: str) -> str:
    """Hexadecimal SHA-256 of a text, where it stands for a content."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


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


def _not_utf8(where: str, byte: int, *, offset: int) -> CorpusError:
    return CorpusError(
        f"{where}: byte {offset} (0x{byte:02x}) is not UTF-8", remedy="convert the file to UTF-8, or leave it out"
    )
