"""Training texts that share thirteen words in a row with a held-out text: found by fingerprints, then read and checked.

N: records of all shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from llm.ingest.contamination import is_among
from llm.ingest.index import Index
from llm.ingest.word_runs import runs
from llm.shingles import Hashes, Numbers

# What stands in more training texts than this is a signature, a licence or a greeting (Brown et al. 2020, appendix C);
# in a small corpus what stands in more than one of so many is.
_MOST, _SHARE = 10, 20
# Fingerprints of held-out texts that are looked for at once: 64 MB, and as much again for the table of the next line.
_AT_ONCE = 8_000_000
# Bits of a fingerprint that a table answers for before it is looked for among all.
_TABLE_BITS = 26
_BATCH = 500


def find_overlaps(index: Index, *, train: NDArray[np.bool_], held_out: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """The records of (N,) `train` that share a run with one of (N,) `held_out`, in order, and for each such a one."""
    pairs = list(_shared(index, train=train, held_out=held_out))
    hashes = np.concatenate([np.empty(0, np.uint64), *(hashes for hashes, _ in pairs)])
    rows = np.concatenate([np.empty(0, np.int64), *(rows for _, rows in pairs)])
    few = _in_few(hashes, rows, most=min(_MOST, max(1, int(train.sum()) // _SHARE)))
    suspects, known = np.unique(rows[few]), np.unique(hashes[few])
    if not suspects.size:
        return suspects, suspects
    holders = np.unique(np.concatenate([of[is_among(found, known)] for found, of in index.fingerprints(held_out)]))
    return _confirmed(index, suspects, holders)


def _shared(index: Index, *, train: NDArray[np.bool_], held_out: NDArray[np.bool_]) -> Iterator[tuple[Hashes, Numbers]]:
    """The fingerprints of training texts that are those of a held-out text too, and the record of each."""
    count = sum(len(found) for found, _ in index.fingerprints(held_out))
    turns = np.uint64(1 + count // _AT_ONCE)
    for turn in range(int(turns)):
        known = np.unique(np.concatenate([found[found % turns == turn] for found, _ in index.fingerprints(held_out)]))
        table = np.zeros(1 << _TABLE_BITS, dtype=bool)
        table[known >> np.uint64(64 - _TABLE_BITS)] = True
        for found, rows in index.fingerprints(train):
            likely = np.flatnonzero(table[found >> np.uint64(64 - _TABLE_BITS)])
            shared = likely[is_among(found[likely], known)]
            yield found[shared], rows[shared]


def _in_few(hashes: Hashes, rows: Numbers, *, most: int) -> NDArray[np.bool_]:
    """Whether each fingerprint, with the record that has it, is in no more than so many records."""
    # A text may have one several times.
    order = np.lexsort((rows, hashes))
    hashes, rows = hashes[order], rows[order]
    another = np.append(True, (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1]))[: len(rows)]
    _, inverse = np.unique(hashes, return_inverse=True)
    few = np.empty(len(rows), dtype=bool)
    few[order] = np.bincount(inverse, weights=another)[inverse] <= most
    return few


def _confirmed(index: Index, suspects: Numbers, holders: Numbers) -> tuple[Numbers, Numbers]:
    """The suspects that share a whole run with one of the holders, and that one."""
    found = list(_runs_of(index, holders))
    known, first = np.unique(np.concatenate([hashes for hashes, _ in found]), return_index=True)
    holder_of = np.concatenate([rows for _, rows in found])[first]
    confirmed: dict[int, int] = {}
    for hashes, rows in _runs_of(index, suspects):
        shared = np.flatnonzero(is_among(hashes, known))
        others = holder_of[np.searchsorted(known, hashes[shared])]
        for row, other in zip(rows[shared].tolist(), others.tolist(), strict=True):
            confirmed.setdefault(row, other)
    return np.array(list(confirmed), dtype=np.int64), np.array(list(confirmed.values()), dtype=np.int64)


def _runs_of(index: Index, rows: Numbers) -> Iterator[tuple[Hashes, Numbers]]:
    """All runs of some records, and the record of each, some records at once."""
    waiting = index.texts(rows)
    while batch := list(islice(waiting, _BATCH)):
        owners = [row for row, texts in batch for _ in texts]
        hashes, starts = runs([text for _, texts in batch for text in texts])
        yield hashes, np.repeat(np.array(owners, dtype=np.int64), np.diff(starts))
