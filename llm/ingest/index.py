"""The rows of shards, and what is kept of every record as numbers, which decide about it without reading it again.

A shard has its rows as JSON lines, an index file of (n,) arrays, one for each of COLUMNS, and where shared runs of
words are looked for, a file with the fingerprints of all its records, one behind the other. N: records of all shards.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray
from safetensors import safe_open

from llm.array_file import ArrayWriter
from llm.corpora.base import LABEL, Record
from llm.errors import StageError
from llm.ingest.word_runs import fingerprints
from llm.shingles import Hashes, Numbers
from llm.splits import group_places
from llm.stages import Stage

ROWS = "rows.jsonl"
INDEX = "rows.safetensors"
_FINGERPRINTS = "fingerprints.u64"
_ROWS_AT_ONCE = 4096
# Whose places are remembered while records are looked up.
_SHARDS_AT_ONCE = 64
COLUMNS: Mapping[str, np.dtype[Any]] = {
    "record": np.dtype(np.uint64),  # hash of all fields
    "text": np.dtype(np.uint64),  # hash of the texts, without case and spaces
    "group": np.dtype(np.uint64),  # hash of the group
    "place": np.dtype(np.float64),  # of the group, in [0, 1): see llm.splits
    "bytes": np.dtype(np.int64),  # of the texts, in UTF-8
    "size": np.dtype(np.int64),  # bytes of the row
    "label": np.dtype(np.int64),  # number in the shard's facts, or -1
    "origin": np.dtype(np.int64),  # number in the shard's facts
    "position": np.dtype(np.int64),  # line, row or number in the origin
    "fingerprints": np.dtype(np.int64),  # how many the record has
}
_SPACES = b" \t\n"


class ShardWriter:
    """The rows and the index of a shard while its records come in; to be used in a `with` block."""

    def __init__(self, folder: Path, *, fields: Sequence[str], salt: str, fingerprinted: bool) -> None:
        self.labels: dict[str, int] = {}
        self.origins: dict[str, int] = {}
        self._fields = tuple(fields)
        self._texts = tuple(name for name in fields if name != LABEL)
        self._salt = salt
        self._file = ArrayWriter(folder / INDEX)
        self._folder = folder
        self._fingerprinted = fingerprinted
        self._open = ExitStack()

    def __enter__(self) -> ShardWriter:
        self._open.enter_context(self._file)
        self._rows = self._open.enter_context((self._folder / ROWS).open("wb"))
        path = self._folder / _FINGERPRINTS
        self._fingerprints = self._open.enter_context(path.open("wb")) if self._fingerprinted else None
        for name, kind in COLUMNS.items():
            self._file.append(name, np.empty(0, kind))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, records: Sequence[Record]) -> None:
        """Put records, each with a group, behind those that are there."""
        texts = _joined(records, self._texts)
        whole = texts if self._fields == self._texts else _joined(records, self._fields)
        groups = [record.group or "" for record in records]
        encoded = [text.encode() for text in texts]
        separators = len(self._texts) - 1
        labels, origins = self.labels, self.origins
        rows = [orjson.dumps({"group": record.group, **record.fields}, option=_LINE) for record in records]
        self._rows.write(b"".join(rows))
        found: dict[str, list[int] | NDArray[Any]] = {
            "record": list(map(_hash, encoded if whole is texts else map(str.encode, whole))),
            "text": [
                _hash((data.lower() if len(data) == len(text) else text.casefold().encode()).translate(None, _SPACES))
                for text, data in zip(texts, encoded, strict=True)
            ],
            "group": [_hash(group.encode()) for group in groups],
            "place": group_places(groups, self._salt),
            "bytes": [len(data) - separators for data in encoded],
            "size": list(map(len, rows)),
            "label": [
                -1 if (label := record.fields.get(LABEL)) is None else labels.setdefault(label, len(labels))
                for record in records
            ],
            "origin": [origins.setdefault(record.origin, len(origins)) for record in records],
            "position": [record.position for record in records],
            "fingerprints": self._fingerprint(records),
        }
        for name, values in found.items():
            self._file.append(name, np.array(values, dtype=COLUMNS[name]))

    def _fingerprint(self, records: Sequence[Record]) -> list[int] | NDArray[np.int64]:
        if self._fingerprints is None:
            return [0] * len(records)
        values, counts = fingerprints([text for record in records for text in record.texts])
        self._fingerprints.write(values.data)
        each: NDArray[np.int64] = counts.reshape(len(records), len(self._texts)).sum(axis=1)
        return each

    def save(self) -> None:
        """Write the file."""
        self._file.save({})


class Index:
    """What is known of the N records of all shards, one shard behind the other; on disk until it is asked for."""

    def __init__(self, shards: Sequence[Stage]) -> None:
        self._folders = [shard.path for shard in shards]
        self._ends = list(accumulate(int(shard.facts["kept"]) for shard in shards))
        self._names: list[list[str]] = [shard.facts["labels"] for shard in shards]
        self._labels: dict[str, int] = {}
        for label in (label for names in self._names for label in names):
            self._labels.setdefault(label, len(self._labels))
        self._origins: list[list[str]] = [shard.facts["origins"] for shard in shards]
        self._places = lru_cache(_SHARDS_AT_ONCE)(self._read_places)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def labels(self) -> list[str]:
        """The labels of all shards, by their numbers in `label_numbers`."""
        return list(self._labels)

    def column(self, name: str) -> NDArray[Any]:
        """(N,) array of one of COLUMNS; those that count names of their shard: `label_numbers`, `where`."""
        found = np.empty(len(self), COLUMNS[name])
        for rows, values in self.parts(name):
            found[rows] = values
        return found

    def parts(self, name: str) -> Iterator[tuple[slice, NDArray[Any]]]:
        """The same shard by shard: which records, and the values of these."""
        for shard, rows in enumerate(self._rows()):
            yield rows, self._read(shard, name)

    def label_numbers(self) -> NDArray[np.int64]:
        """(N,) numbers in `labels`, or -1."""
        found = np.empty(len(self), np.int64)
        for shard, rows in enumerate(self._rows()):
            numbers = np.array([*(self._labels[name] for name in self._names[shard]), -1], dtype=np.int64)
            found[rows] = numbers[self._read(shard, "label")]
        return found

    def place_of(self, row: int) -> tuple[str, int]:
        """Origin and position of a record."""
        shard = bisect_right(self._ends, row)
        number = row - (self._ends[shard - 1] if shard else 0)
        origins, positions = self._places(shard)
        return self._origins[shard][origins[number]], int(positions[number])

    def where(self, row: int) -> str:
        """The same in words."""
        origin, position = self.place_of(row)
        return f"{origin}, {position}"

    def fingerprints(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[Hashes, Numbers]]:
        """Shard by shard, the fingerprints of the (N,) chosen records, and the record of each."""
        for shard, rows in enumerate(self._rows()):
            counts, wanted = self._read(shard, "fingerprints"), chosen[rows]
            path = self._folders[shard] / _FINGERPRINTS
            values = np.fromfile(path, dtype=np.uint64) if counts.any() else np.empty(0, np.uint64)
            owners = np.repeat(np.flatnonzero(wanted) + rows.start, counts[wanted])
            yield values[np.repeat(wanted, counts)], owners

    def _rows(self) -> Iterator[slice]:
        yield from (slice(start, end) for start, end in pairwise([0, *self._ends]))

    def _read(self, shard: int, name: str) -> NDArray[Any]:
        # Not through a map that stays: what is touched of one counts as memory.
        with safe_open(str(self._folders[shard] / INDEX), framework="numpy") as file:
            values: NDArray[Any] = file.get_tensor(name)
        return values

    def _read_places(self, shard: int) -> tuple[memoryview, memoryview]:
        # Asked for one number, a view is several times as fast as an array.
        return self._read(shard, "origin").data, self._read(shard, "position").data

    def rows(self) -> Iterator[tuple[slice, bytes, list[int]]]:
        """The rows of all records, some thousand at once: which, their bytes, and where in these each begins and ends.

        Raises StageError when a shard has other rows than its index says.
        """
        for shard, records in enumerate(self._rows()):
            sizes = self._read(shard, "size")
            path = self._folders[shard] / ROWS
            if path.stat().st_size != sizes.sum():
                raise StageError(
                    f"{path}: {path.stat().st_size:,} bytes, but its index says {sizes.sum():,}",
                    remedy=f"delete {path.parent} and run again: it will be built anew",
                )
            with path.open("rb") as file:
                for start in range(0, len(sizes), _ROWS_AT_ONCE):
                    bounds = [0, *accumulate(sizes[start : start + _ROWS_AT_ONCE].tolist())]
                    first = records.start + start
                    yield slice(first, first + len(bounds) - 1), file.read(bounds[-1]), bounds

    def texts(self, rows: Numbers) -> Iterator[tuple[int, list[str]]]:
        """Of some records, in ascending order, the number and the texts."""
        for shard, records in enumerate(self._rows()):
            chosen = rows[np.searchsorted(rows, records.start) : np.searchsorted(rows, records.stop)]
            if not chosen.size:
                continue
            sizes = self._read(shard, "size")
            starts = np.cumsum(sizes) - sizes
            with (self._folders[shard] / ROWS).open("rb") as file:
                for row in chosen.tolist():
                    file.seek(int(starts[row - records.start]))
                    fields = orjson.loads(file.read(int(sizes[row - records.start])))
                    yield row, [value for name, value in fields.items() if name not in ("group", LABEL)]


def _joined(records: Sequence[Record], names: Sequence[str]) -> list[str]:
    if len(names) == 1:
        name = names[0]
        return [record.fields[name] for record in records]
    # No text holds a NUL: cleaning removes control characters.
    return ["\0".join([record.fields[name] for name in names]) for record in records]


_LINE = orjson.OPT_APPEND_NEWLINE
# 64 bits: among ten million different texts, two alike have a chance of three in a million.
_hash = xxhash.xxh3_64_intdigest
