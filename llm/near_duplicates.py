"""Near-duplicate texts: MinHash signatures of their shingles, and clusters of records whose signatures agree.

N: records; P: numbers in a signature. A shingle is a few words that follow each other; the similarity of two texts is
the share of their shingles that both have (Jaccard), and the share of equal numbers in their signatures estimates it
(Broder 1997, "On the resemblance and containment of documents").
"""

from __future__ import annotations

import re
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A copy with 10 % of its words changed keeps 0.9^k of its shingles of k words, so its similarity is 0.82, 0.68 and 0.57
# for k = 1, 2 and 3 (0.65 to 0.70 for k = 2 and 30 to 300 words). Single words are shared by texts that have nothing to
# do with each other; pairs hardly are.
_WORDS_IN_SHINGLE = 2
# A Chinese or Japanese word has about 1.7 characters, a Thai, Lao, Khmer or Burmese one 4 to 5: in shingles of 3 and 5
# characters a change of 10 % costs as much as in pairs of words.
_CHARACTERS_IN_SHINGLE = 3
_LETTERS_IN_SHINGLE = 5
# In fewer words than this, 10 % is not one word: "Open the door" and "Close the door" are different texts.
_FEWEST_WORDS = 10
# So many letters in so few words are an unlisted script without spaces, or an encoding.
_LONG_WITHOUT_WORDS = 100

# Of an estimate from 96 numbers the standard deviation at 0.66 is 0.05: 0.5 is three of them below an edited copy, and
# ten above unrelated texts. Bands of 4 make 24: two texts meet in at least one with probability 1 - (1 - s^4)^24, which
# is 0.992 at a similarity of 0.65, 0.79 at 0.5 and 0.00004 at 0.035 (Leskovec, Rajaraman, Ullman, Mining of Massive
# Datasets, 3.4.2). Bands of 3 would need fewer numbers, but make 30 times as many candidates of unrelated texts.
THRESHOLD = 0.5
PERMUTATIONS = 96
_SEED = 1997

# Members of a run of equal bands that the others are compared with, so that a run costs no more than it has members.
_LEADERS = 8
_TEXTS_AT_ONCE = 1024
_RECORDS_AT_ONCE = 1 << 18
_PAIRS_AT_ONCE = 1 << 14

_HAN_AND_KANA = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_THAI_TO_KHMER = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_CHARACTER = re.compile(f"[{_HAN_AND_KANA}]")
_UNSPACED = re.compile(f"[{_HAN_AND_KANA}{_THAI_TO_KHMER}]")
_ASCII_WORDS = {code: " " for code in range(128) if not chr(code).isalnum()}

Signatures = NDArray[np.uint16]


def signatures(texts: Sequence[str]) -> Signatures:
    """(N, PERMUTATIONS) signatures, the same in every process: only case, spacing and punctuation make no difference.

    A shingle is 2 words; 3 characters in Chinese and Japanese, 5 in other writing without spaces. A text of fewer than
    10 words, or as many characters as make 10 words, is one shingle: it is similar to its equals alone.

    Of each number the low 16 bits are kept, which adds 2^-16 to an estimate (Li and Koenig 2010, "b-bit minwise
    hashing") and halves the file; four of them are a band's key as they stand.
    """
    hashes = _Hashes()
    rows = [
        _sketches([_units(text) for text in texts[start : start + _TEXTS_AT_ONCE]], hashes)
        for start in range(0, len(texts), _TEXTS_AT_ONCE)
    ]
    return np.concatenate(rows) if rows else np.empty((0, PERMUTATIONS), dtype=np.uint16)


def estimated_similarity(a: Signatures, b: Signatures) -> NDArray[np.float64]:
    """(..., P) and (..., P) -> (...): estimated share of common shingles, from 0 to 1."""
    return np.count_nonzero(a == b, axis=-1) / np.float64(a.shape[-1])


class SignatureFile:
    """Signatures on disk while records come in; to be used in a `with` block, at whose end the file is gone."""

    def __init__(self, folder: Path) -> None:
        # It has no name in the folder, so a crash leaves nothing there; the `with` around this object closes it.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._records = 0

    def __enter__(self) -> SignatureFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._records

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


def clusters(signatures: Signatures, *, threshold: float) -> NDArray[np.int64]:
    """(N, P) signatures -> (N,) the number of the first record of each one's cluster: its own where it is alone.

    Records that agree in a band of four numbers are compared, and joined where their estimated similarity is at least
    `threshold`; a cluster is what such pairs connect. Below `THRESHOLD` the bands miss pairs. Memory: 16 bytes a record
    and some MB, beside the signatures, which may be a map of a file.

    Raises ValueError unless P is a multiple of 4 and the threshold above 0 and at most 1.
    """
    records, width = signatures.shape
    if signatures.dtype != np.uint16 or width % 4:
        raise ValueError(f"signatures are uint16 and a multiple of 4 a row, not {signatures.dtype} ({width},)")
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold = {threshold}: a similarity is above 0 and at most 1")
    values = np.asarray(signatures)
    keys = np.ascontiguousarray(values).view(np.uint64)
    first = np.arange(records, dtype=np.int64)
    for band in range(width // 4):
        for members, runs in _runs(keys[:, band]):
            _join(first, members, runs=runs, signatures=values, least=threshold * width)
    for start in range(0, records, _RECORDS_AT_ONCE):
        _roots(first, np.arange(start, min(start + _RECORDS_AT_ONCE, records)))
    return first


def _units(text: str) -> tuple[list[str], int]:
    """What a text is made of, and how many of them are a shingle."""
    words = _words(text)
    letters = "".join(words)
    if not letters.isascii() and 2 * len(_UNSPACED.findall(letters)) > len(letters):
        chinese = 2 * len(_CHARACTER.findall(letters)) > len(letters)
        units, size = list(letters), _CHARACTERS_IN_SHINGLE if chinese else _LETTERS_IN_SHINGLE
    elif len(words) < _FEWEST_WORDS and len(letters) >= _LONG_WITHOUT_WORDS:
        units, size = list(letters), _LETTERS_IN_SHINGLE
    else:
        units, size = words, _WORDS_IN_SHINGLE
    # A change spoils as many shingles as there are units in one, so a word is about one unit less than that.
    if len(units) < _FEWEST_WORDS * (size - 1):
        return [" ".join(words or text.split())], 1
    return units, size


def _words(text: str) -> list[str]:
    if text.isascii():
        return text.lower().translate(_ASCII_WORDS).split()
    return _word_pattern().findall(unicodedata.normalize("NFKC", text).lower().replace("_", " "))


@cache
def _word_pattern() -> re.Pattern[str]:
    # \w leaves out the vowel signs of Hindi, Thai and others, and would cut their words in pieces.
    marks = (chr(code) for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(rf"[\w{''.join(marks)}]+")


class _Hashes(dict[str, int]):
    """64-bit hashes of words, each computed once: most words of a text are common ones."""

    def __missing__(self, word: str) -> int:
        import xxhash

        value = self[word] = xxhash.xxh3_64_intdigest(word.encode("utf-8", "surrogatepass"))
        return value


def _sketches(texts: list[tuple[list[str], int]], hashes: _Hashes) -> Signatures:
    """(n, PERMUTATIONS) signatures of texts in units; MinHash as in Dahlgaard et al. 2017, Fast Similarity Sketching."""
    from rensa import RMinHash

    shingles, offsets = _shingles(texts, hashes)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(shingles, offsets, PERMUTATIONS, _SEED)
    # The matrix has no buffer; through numbers of Python, fromiter is three times as fast as array.
    numbers = chain.from_iterable(matrix.to_rows())
    values = np.fromiter(numbers, dtype=np.uint32, count=len(texts) * PERMUTATIONS)
    # The high bits are not uniform (they tell in which round a number was found), the low ones are.
    return values.reshape(len(texts), PERMUTATIONS).astype(np.uint16)


def _shingles(texts: list[tuple[list[str], int]], hashes: _Hashes) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Hashes of all shingles, one text after another, and (n + 1,) where each text's begin."""
    lengths = np.array([len(units) for units, _ in texts])
    sizes = np.array([size for _, size in texts])
    units = chain.from_iterable(units for units, _ in texts)
    hashed = np.fromiter(map(hashes.__getitem__, units), dtype=np.uint64, count=lengths.sum())
    size = np.repeat(sizes, lengths)
    mixed = hashed.copy()
    for ahead in range(1, sizes.max()):
        longer = np.flatnonzero(size[:-ahead] > ahead)
        mixed[longer] = _mixed(mixed[longer]) + hashed[longer + ahead]
    ends = np.cumsum(lengths)
    whole = np.arange(len(hashed)) + size <= np.repeat(ends, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths - sizes + 1)])
    return _mixed(mixed[whole]), offsets.astype(np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of a number spread over all of it (the finalizer of SplitMix64: Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _runs(keys: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Records whose keys are equal, run by run and in order, in pieces: their numbers, and a number for each's run.

    A run that goes through several pieces has its first record in each of them.
    """
    # A record's number stands in the low bits of its hashed key, so that sorting needs no second array. What the key
    # loses makes a false candidate of one pair in 2^37 for 100 million records: comparing the signatures sorts it out.
    bits = np.uint64(max(len(keys) - 1, 0).bit_length())
    order = np.empty(len(keys), dtype=np.uint64)
    for start in range(0, len(keys), _RECORDS_AT_ONCE):
        piece = _mixed(keys[start : start + _RECORDS_AT_ONCE]) >> bits << bits
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


def _join(
    first: NDArray[np.int64],
    members: NDArray[np.int64],
    *,
    runs: NDArray[Any],
    signatures: Signatures,
    least: float,
) -> None:
    """Join the members of each run that agree in at least `least` numbers with a leader of it.

    The first member leads; what is not similar to it is led by the first of what is left, and so on.
    """
    for _ in range(_LEADERS):
        if len(members) < 2:
            return
        leads = np.append(True, runs[1:] != runs[:-1])
        leaders = members[leads][np.cumsum(leads) - 1]
        members, runs, leaders = members[~leads], runs[~leads], leaders[~leads]
        apart = np.flatnonzero(_roots(first, members) != _roots(first, leaders))
        similar = np.concatenate([np.empty(0, dtype=np.bool_), *_agree(signatures, members[apart], leaders[apart], least)])
        _unite(first, members[apart[similar]], leaders[apart[similar]])
        left = apart[~similar]
        members, runs = members[left], runs[left]


def _agree(
    signatures: Signatures, a: NDArray[np.int64], b: NDArray[np.int64], least: float
) -> Iterator[NDArray[np.bool_]]:
    for start in range(0, len(a), _PAIRS_AT_ONCE):
        pairs = slice(start, start + _PAIRS_AT_ONCE)
        yield np.count_nonzero(signatures[a[pairs]] == signatures[b[pairs]], axis=1) >= least


def _roots(first: NDArray[np.int64], records: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first record of each one's cluster; the way there is one step from now on."""
    found = first[records]
    while True:
        further = first[found]
        if np.array_equal(further, found):
            break
        found = further
    first[records] = found
    return found


def _unite(first: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64]) -> None:
    """Make one cluster of those of `a[i]` and `b[i]`, for every i; its lowest number stands for it."""
    while len(a):
        roots_a, roots_b = _roots(first, a), _roots(first, b)
        low, high = np.minimum(roots_a, roots_b), np.maximum(roots_a, roots_b)
        apart = low != high
        a, b = low[apart], high[apart]
        # A root may be hooked to several lower ones: it takes the lowest, and the next turn joins the others to that.
        np.minimum.at(first, b, a)
