"""Shingles: the few words, or characters, that follow each other in a text, as hashes, of many texts at once.

n: texts.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# A copy with 10 % of its words changed keeps 0.9^k of its shingles of k words, so its similarity is 0.82, 0.68 and 0.57
# for k = 1, 2 and 3. Single words are shared by texts that have nothing to do with each other; pairs hardly are.
_WORDS_IN_SHINGLE = 2
# A Chinese or Japanese word has about 1.7 characters, a Thai, Lao, Khmer or Burmese one 4 to 5: in shingles of 3 and 5
# characters a change of 10 % costs as much as in pairs of words.
_CHARACTERS_IN_SHINGLE, _LETTERS_IN_SHINGLE = 3, 5
# In fewer words than this, 10 % is not one word: "Open the door" and "Close the door" are different texts.
_FEWEST_WORDS = 10
# So many letters in so few words are an unlisted script without spaces, or an encoding.
_LONG_WITHOUT_WORDS = 100
# Kinds of characters.
_OTHER, _LETTER, _UNSPACED, _CHARACTER = range(4)
_THAI_TO_KHMER = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
_HAN_AND_KANA = ((0x3005, 0x3007), (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF))
_LAST_CODE = 0x20000
# Any odd number whose bits look random will do; this one is 2^64 divided by the golden ratio.
_BASE = 0x9E3779B97F4A7C15

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


class Units(NamedTuple):
    """What n texts are made of, one after another: words, or characters of writing without spaces. U: units of all."""

    hashes: Hashes  # (U,)
    begins: Numbers  # (U,) where each begins and ends in the texts, joined by a character each
    ends: Numbers
    counts: Numbers  # (n,) how many each text has
    scale: Numbers  # (n,) how many make a word: 1 for words; 2 for characters of Chinese and Japanese; 4 for others


def shingles_of(texts: list[str]) -> tuple[Hashes, Hashes]:
    """Hashes of all shingles of n texts, one text after another, and (n + 1,) where each text's begin.

    A shingle is 2 words; 3 characters in Chinese and Japanese, 5 in other writing without spaces. A text of fewer than
    10 words, or as many characters as make 10 words, is one shingle.
    """
    units = units_of(texts)
    # A change spoils as many shingles as there are units in one, so a word is worth one unit less than that.
    few = units.counts < _FEWEST_WORDS * units.scale
    return _shingles(units.hashes, units.counts, np.where(few, np.maximum(units.counts, 1), units.scale + 1))


def units_of(texts: list[str]) -> Units:
    """The units of texts in small letters; a text without a letter is made of its other characters."""
    # A separator ends each text, so that no word goes from one to the next.
    codes, kinds = _codes("\n".join([*texts, ""]))
    lengths = np.array([len(text) + 1 for text in texts])
    starts = np.cumsum(lengths) - lengths
    letter = kinds >= _LETTER
    letters = _counts(letter, starts)
    if not letters.all():
        # Without a letter or digit, a text is its other characters: "***" is not "---".
        letter |= np.repeat(letters == 0, lengths) & (codes > ord(" "))
        letters = _counts(letter, starts)
    begins = letter & ~np.append(False, letter[:-1])
    words = _counts(begins, starts)
    unspaced, chinese = (2 * _counts(kinds >= kind, starts) > letters for kind in (_UNSPACED, _CHARACTER))
    by_character = unspaced | ((words < _FEWEST_WORDS) & (letters >= _LONG_WITHOUT_WORDS))
    begins |= letter & np.repeat(by_character, lengths)
    ends = letter & np.append(~letter[1:] | begins[1:], True)

    counts = np.where(by_character, letters, words)
    characters = np.where(chinese, _CHARACTERS_IN_SHINGLE, _LETTERS_IN_SHINGLE)
    scale = np.where(by_character, characters, _WORDS_IN_SHINGLE) - 1
    first, last = np.flatnonzero(begins), np.flatnonzero(ends) + 1
    return Units(hashes_of(codes, first, last), first, last, counts, scale)


def _codes(text: str) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """The code points of a text, and the kind of each."""
    if text.isascii():
        encoded = text.encode("ascii")
        kinds = encoded.translate(_kinds()[:256].tobytes())
        return np.frombuffer(encoded, dtype=np.uint8), np.frombuffer(kinds, dtype=np.uint8)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return codes, _kinds()[np.minimum(codes, _LAST_CODE)]


def _counts(flags: NDArray[np.bool_], starts: Numbers) -> Numbers:
    """How many of the flags are set in each piece that begins at `starts`."""
    places = np.flatnonzero(flags)
    return np.diff(np.searchsorted(places, starts), append=len(places))


def hashes_of(codes: NDArray[Any], begins: Numbers, ends: Numbers) -> Hashes:
    """Hashes of pieces of a text, or of what else `codes` stand for: polynomials modulo 2^64.

    Each is a difference of a running sum, so that what a piece costs does not depend on its length.
    """
    powers, inverses = (_powers(base, 1 << len(codes).bit_length()) for base in (_BASE, pow(_BASE, -1, 1 << 64)))
    sums = np.zeros(len(codes) + 1, dtype=np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    return mixed((sums[ends] - sums[begins]) * inverses[begins])


@cache
def _powers(base: int, count: int) -> Hashes:
    """The first powers of a number modulo 2^64."""
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.cumprod(powers)


@cache
def _kinds() -> NDArray[np.uint8]:
    """The kind of each code point up to `_LAST_CODE`; those behind it are rare characters of Chinese."""
    kinds = np.full(_LAST_CODE + 1, _OTHER, dtype=np.uint8)
    for code in range(_LAST_CODE):
        # Marks: without its vowel signs, a word of Hindi falls in pieces.
        if chr(code).isalnum() or unicodedata.category(chr(code)).startswith("M"):
            kinds[code] = _LETTER
    for kind, ranges in ((_UNSPACED, _THAI_TO_KHMER), (_CHARACTER, _HAN_AND_KANA)):
        for low, high in ranges:
            piece = kinds[low : high + 1]
            piece[piece == _LETTER] = kind
    kinds[_LAST_CODE] = _CHARACTER
    return kinds


def _shingles(hashes: Hashes, counts: Numbers, sizes: Numbers) -> tuple[Hashes, Hashes]:
    """Hashes of all shingles of n texts, one text after another, and (n + 1,) where each text's begin."""
    size = np.repeat(sizes, counts)
    # Of the last units of a text there is no shingle that begins with them.
    begins = np.flatnonzero(np.arange(len(hashes)) + size <= np.repeat(np.cumsum(counts), counts))
    shingles, size = hashes[begins], size[begins]
    growing = np.arange(len(begins))
    for ahead in range(1, sizes.max()):
        growing = growing[size[growing] > ahead]
        shingles[growing] = mixed(shingles[growing]) + hashes[begins[growing] + ahead]
    offsets = np.append(0, np.cumsum(counts - sizes + 1))
    return mixed(shingles), offsets.astype(np.uint64)


def mixed(values: Hashes) -> Hashes:
    """Every bit of a number spread over all of it (the finalizer of SplitMix64: Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
