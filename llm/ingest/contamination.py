"""Keeping texts that measure models out of corpora: what shares thirteen words in a row with one, or equals one.

Thirteen words as in Brown et al. 2020 ("Language Models are Few-Shot Learners", appendix C).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from llm.corpora.base import Record, Unreadable
from llm.corpora.local_files import LocalFiles, LocalFilesConfig

_WORDS = 13
_WORD = re.compile(r"\w+")
_BASE = 0x9E3779B97F4A7C15  # odd, so that no power of it loses bits


class KeptOut:
    """The hashes of all runs of thirteen words of some texts, and of those texts that are shorter."""

    def __init__(self, texts: Iterable[str]) -> None:
        found: set[int] = set()
        for text in texts:
            found.update(_hashes(text).tolist())
        self._hashes = np.array(sorted(found), dtype=np.uint64)

    def reason(self, record: Record) -> str | None:
        """Why the record is to be left out, or None."""
        for name, text in zip(record.fields, record.texts, strict=False):
            hashes = _hashes(text)
            places = np.searchsorted(self._hashes, hashes)
            same = places < len(self._hashes)
            same[same] = self._hashes[places[same]] == hashes[same]
            if same.any():
                words = _words(text)[int(np.argmax(same)) :][:_WORDS]
                return f"{name} shares {' '.join(words)!r} with a text that is to be kept out"
        return None


def kept_out_texts(files: Sequence[LocalFilesConfig], *, downloads: Path) -> Iterator[str]:
    """Every text of every record of `files`, labels left out.

    Raises CorpusError and DownloadError as reading a corpus does; what cannot be read is passed over.
    """
    corpus = LocalFiles()
    for config in files:
        for item in corpus.records(config, downloads=downloads):
            if not isinstance(item, Unreadable):
                yield from item.texts


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _hashes(text: str) -> NDArray[np.uint64]:
    """Of each run of thirteen words, or of all words where there are fewer; none where there is no word."""
    words = _words(text)
    if not words:
        return np.empty(0, dtype=np.uint64)
    numbers = (xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass")) for word in words)
    each = np.fromiter(numbers, dtype=np.uint64, count=len(words))
    # A polynomial modulo 2^64 over the hashes of the words.
    width = min(_WORDS, len(words))
    powers = np.cumprod(np.full(width, _BASE, dtype=np.uint64))
    found: NDArray[np.uint64] = (sliding_window_view(each, width) * powers).sum(axis=1)
    return found
