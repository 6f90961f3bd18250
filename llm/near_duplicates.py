"""Near-duplicate texts: MinHash signatures of their shingles, and clusters of records whose signatures agree.

N: records; P: numbers in a signature. A shingle is a few words that follow each other; the similarity of two texts is
the share of their shingles that both have (Jaccard), and the share of equal numbers in their signatures estimates it
(Broder 1997, "On the resemblance and containment of documents").
"""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.shingles import Hashes, Numbers, mixed, shingles_of

# Of a longer text the beginning stands for it, so that one text cannot fill the memory.
_LONGEST = 1 << 20

# Bands of 4 make 24 of 96 numbers: two texts meet in at least one with probability 1 - (1 - s^4)^24, which is 0.99 at a
# similarity s of 0.65, 0.63 at 0.45 and 0.00004 at 0.035, which few unrelated texts have (Leskovec, Rajaraman, Ullman,
# Mining of Massive Datasets, 3.4.2). Bands of 3 would need fewer numbers, but make some 30 times as many candidates of
# unrelated texts. The standard deviation of an estimate is below 0.05: 0.45 is four of them below an edited copy.
THRESHOLD = 0.45
PERMUTATIONS = 96
_BAND = 4
_SEED = 1997

# Members of a run of equal bands that the others are compared with, so that its cost grows with its length alone.
_LEADERS = 8
_CHARACTERS_AT_ONCE, _RECORDS_AT_ONCE, _PAIRS_AT_ONCE = 1 << 18, 1 << 18, 1 << 14

Signatures = NDArray[np.uint16]


def signatures(texts: Sequence[str]) -> Signatures:
    """(N, PERMUTATIONS) signatures, the same in every process: only case, spacing and punctuation make no difference.

    A shingle is 2 words; 3 characters in Chinese and Japanese, 5 in other writing without spaces. A text of fewer than
    10 words, or 20 or 40 such characters, is one shingle: it is similar to its equals alone. Of a text of more than a
    million characters only the beginning counts.

    Of each number the low 16 bits are kept, which adds 2^-16 to an estimate (Li and Koenig 2010, "b-bit minwise
    hashing") and halves the file; four of them are a band's key as they stand.
    """
    rows = [_sketches(batch) for batch in _batches(texts)]
    return np.concatenate(rows) if rows else np.empty((0, PERMUTATIONS), dtype=np.uint16)


def estimated_similarity(a: Signatures, b: Signatures) -> NDArray[np.float64]:
    """(..., P) and (..., P) -> (...): estimated share of common shingles, from 0 to 1."""
    # Three times as fast as their mean.
    equal = np.sum(a == b, axis=-1, dtype=np.uint16)
    return np.asarray(equal / np.float64(a.shape[-1]))


class SignatureFile:
    """Signatures on disk while records come in; to be used in a `with` block, at whose end the file is gone."""

    def __init__(self, folder: Path) -> None:
        # It has no name in the folder, so a crash leaves nothing there; the `with` around this object closes it.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._records = 0

    def __enter__(self) -> SignatureFile:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, values: Signatures) -> None:
        """Put (n, PERMUTATIONS) signatures behind those that are there."""
        if values.dtype != np.uint16 or values.shape[1:] != (PERMUTATIONS,):
            raise ValueError(f"signatures are uint16 ({PERMUTATIONS},) a row, not {values.dtype} {values.shape[1:]}")
        self._file.write(np.ascontiguousarray(values).data)
        self._records += len(values)

    def array(self) -> Signatures:
        """(N, PERMUTATIONS), read-only and read from disk where it is touched; what is appended later is not in it."""
        if not self._records:
            return np.empty((0, PERMUTATIONS), dtype=np.uint16)
        self._file.flush()
        return np.memmap(self._file, dtype=np.uint16, mode="r", shape=(self._records, PERMUTATIONS))


def clusters(signatures: Signatures, *, threshold: float) -> Numbers:
    """(N, P) signatures -> (N,) the number of the first record of each one's cluster: its own where it is alone.

    Records that agree in a band of four numbers are compared, and joined where their estimated similarity is at least
    `threshold`; a cluster is what such pairs connect. Memory: 16 bytes a record and some 30 MB, beside the signatures,
    which may be a map of a file.

    Raises ValueError unless P is a multiple of 4 and the threshold above 0 and at most 1.
    """
    if signatures.dtype != np.uint16 or signatures.shape[1] % _BAND:
        raise ValueError(f"a signature is a multiple of {_BAND} uint16, not {signatures.shape[1]} {signatures.dtype}")
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold = {threshold}: a similarity is above 0 and at most 1")
    values = np.ascontiguousarray(signatures)
    bands = values.view(np.uint64)
    found = _Clusters(values, threshold)
    for band in range(bands.shape[1]):
        for members, runs in _runs(bands[:, band]):
            found.join(members, runs)
    for start in range(0, len(values), _RECORDS_AT_ONCE):
        found.roots(np.arange(start, min(start + _RECORDS_AT_ONCE, len(values))))
    return found.first


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts as they are compared, so many at a time that the arrays of a batch stay small."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        start = text[:_LONGEST]
        batch.append((start if start.isascii() else unicodedata.normalize("NFKC", start)).lower()[:_LONGEST])
        characters += len(batch[-1])
        if characters >= _CHARACTERS_AT_ONCE:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _sketches(texts: list[str]) -> Signatures:
    """(n, PERMUTATIONS) signatures; MinHash as in Dahlgaard, Knudsen, Thorup 2017, "Fast Similarity Sketching"."""
    from rensa import RMinHash  # type: ignore[import-untyped]

    shingles, offsets = shingles_of(texts)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets, PERMUTATIONS, _SEED)
    # The matrix has no buffer; through Python's numbers, fromiter is twice as fast as array.
    values = np.fromiter(chain.from_iterable(matrix.to_rows()), dtype=np.uint32, count=len(texts) * PERMUTATIONS)
    # The high bits are not uniform (they tell in which round a number was found), the low ones are.
    return values.reshape(len(texts), PERMUTATIONS).astype(np.uint16)


def _runs(keys: Hashes) -> Iterator[tuple[Numbers, NDArray[Any]]]:
    """Records whose keys are equal, run by run and in order, in pieces: their numbers, and a number for each's run.

    A run that goes through several pieces has its first record in each of them.
    """
    # A record's number stands in the low bits of its hashed key, so that sorting needs no second array. What the key
    # loses makes a false candidate of one pair in 2^37 for 100 million records: comparing the signatures sorts it out.
    bits = np.uint64(max(len(keys) - 1, 0).bit_length())
    order = np.empty(len(keys), dtype=np.uint64)
    for start in range(0, len(keys), _RECORDS_AT_ONCE):
        piece = mixed(keys[start : start + _RECORDS_AT_ONCE]) >> bits << bits
        order[start : start + len(piece)] = piece | np.arange(start, start + len(piece), dtype=np.uint64)
    order.sort()
    for start in range(0, len(order), _RECORDS_AT_ONCE):
        piece = order[start : start + _RECORDS_AT_ONCE]
        if start and order[start - 1] >> bits == piece[0] >> bits:
            head = np.searchsorted(order, piece[0] >> bits << bits)
            piece = np.concatenate([order[head : head + 1], piece])
        run = piece >> bits
        same = run[1:] == run[:-1]
        shared = np.append(same, False) | np.append(False, same)
        yield (piece[shared] & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64), run[shared]


class _Clusters:
    """Trees of records: `first` holds an earlier record of each one's cluster, or itself."""

    def __init__(self, signatures: Signatures, threshold: float) -> None:
        self.first = np.arange(len(signatures), dtype=np.int64)
        self._signatures = signatures
        self._threshold = threshold

    def join(self, members: Numbers, runs: NDArray[Any]) -> None:
        """Join the members of each run that are similar to a leader of it.

        The first member leads; what is not similar to it is led by the first of what is left, and so on.
        """
        for _ in range(_LEADERS):
            if len(members) < 2:
                return
            leads = np.append(True, runs[1:] != runs[:-1])
            leaders = members[leads][np.cumsum(leads) - 1]
            members, runs, leaders = members[~leads], runs[~leads], leaders[~leads]
            apart = np.flatnonzero(self.roots(members) != self.roots(leaders))
            similar = np.zeros(len(apart), dtype=np.bool_)
            for start in range(0, len(apart), _PAIRS_AT_ONCE):
                pairs = apart[start : start + _PAIRS_AT_ONCE]
                # take is several times as fast as an index of rows.
                a, b = (self._signatures.take(records[pairs], axis=0) for records in (members, leaders))
                similar[start : start + len(pairs)] = estimated_similarity(a, b) >= self._threshold
            self._unite(members[apart[similar]], leaders[apart[similar]])
            members, runs = members[apart[~similar]], runs[apart[~similar]]

    def roots(self, records: Numbers) -> Numbers:
        """The first record of each one's cluster; the way there is one step from now on."""
        found = self.first[records]
        while not np.array_equal(further := self.first[found], found):
            found = further
        self.first[records] = found
        return found

    def _unite(self, a: Numbers, b: Numbers) -> None:
        """Make one cluster of those of `a[i]` and `b[i]`, for every i; its lowest number stands for it."""
        while len(a):
            roots_a, roots_b = self.roots(a), self.roots(b)
            low, high = np.minimum(roots_a, roots_b), np.maximum(roots_a, roots_b)
            a, b = low[low != high], high[low != high]
            # A root that meets several lower ones takes the lowest; the next turn joins the others to that.
            np.minimum.at(self.first, b, a)
