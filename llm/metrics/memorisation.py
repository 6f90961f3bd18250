"""How much a text repeats of the training texts: the longest run of words that stands in one of them.

Words in small letters, without punctuation; characters, in writing without spaces (llm.shingles). Runs are found in
one pass over the words of a text, each time at all places where its next word stands in the training texts, so that a
text costs as much as its words are frequent there: no training text is compared as a whole, and 5 MB take seconds.

W: words of all training texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.batching import in_order
from llm.shingles import Units, units_of

_CHARACTERS_AT_ONCE = 1 << 20  # what they cost together is many times their size


@dataclass(frozen=True)
class Span:
    """The longest run of `words` words that a text shares with training text number `source`, as `text` spells it.

    0 words, "" and -1 where they share no word.
    """

    words: int
    text: str
    source: int


def longest_spans(texts: Sequence[str], training: Sequence[str]) -> list[Span]:
    """One span a text; among equally long ones the first."""
    own = [_units(text) for text in texts]
    known = np.unique(np.concatenate([np.empty(0, np.uint64), *(units.hashes for _, units in own)]))
    places = _Places(known, training)
    return [_longest(text, units, places, training) for text, units in own]


class _Places:
    """Where each of some words stands in the training texts."""

    def __init__(self, known: NDArray[np.uint64], training: Sequence[str]) -> None:
        self._known = known
        codes, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        begins = [np.zeros(1, np.int64)]
        # Place 0 stays empty, as does one behind each text, so that no run goes from one text to the next.
        place = 1
        for batch in in_order(training, size=len, most=_CHARACTERS_AT_ONCE):
            if not batch:
                break
            units = units_of([text.lower() for text in batch])
            gaps = np.repeat(np.arange(len(batch)), units.counts)
            numbers = place + np.arange(len(units.hashes)) + gaps
            at = np.searchsorted(known, units.hashes).clip(max=max(0, len(known) - 1))
            hits = known[at] == units.hashes if len(known) else np.zeros(len(at), dtype=bool)
            codes.append(at[hits])
            found.append(numbers[hits])
            begins.append(place + np.cumsum(units.counts + 1))
            place = int(begins[-1][-1])
        self.count = place + 1
        self._begins = np.concatenate(begins)  # where each training text begins, from the second on
        self._begins[0] = 1
        code = np.concatenate(codes)
        order = np.argsort(code, kind="stable")
        self._found = np.concatenate(found)[order]
        self._starts = np.searchsorted(code[order], np.arange(len(known) + 1))

    def of(self, word: np.uint64) -> NDArray[np.int64]:
        """Sorted places of a word."""
        code = int(np.searchsorted(self._known, word))
        return self._found[self._starts[code] : self._starts[code + 1]]

    def source(self, place: int) -> tuple[int, int]:
        """The number of the training text at a place, and of the word in it."""
        number = int(np.searchsorted(self._begins, place, side="right")) - 1
        return number, place - int(self._begins[number])


def _longest(text: str, units: Units, places: _Places, training: Sequence[str]) -> Span:
    # (W,) how long the run is that ends at each place; only places of the last word are not 0.
    runs = np.zeros(places.count, dtype=np.int32)
    before = np.empty(0, dtype=np.int64)
    longest, last, place = 0, -1, -1
    for number, word in enumerate(units.hashes):
        here = places.of(word)
        longer = runs[here - 1] + 1
        runs[before] = 0
        runs[here] = longer
        before = here
        if len(here) and (most := int(longer.max())) > longest:
            longest, last, place = most, number, int(here[longer.argmax()])
    if longest == 0:
        return Span(0, "", -1)
    begin, end = units.begins[last - longest + 1], units.ends[last]
    source, word_number = places.source(place)
    _verify(text, units, last, training[source], word_number, count=longest)
    return Span(longest, text[begin:end], source)


def _verify(text: str, units: Units, last: int, source: str, place: int, *, count: int) -> None:
    """Raise AssertionError if the words that have the same 64-bit hashes are not the same words."""
    other_text, other = _units(source)
    for back in range(count):
        one = text[units.begins[last - back] : units.ends[last - back]]
        two = other_text[other.begins[place - back] : other.ends[place - back]]
        assert one.lower() == two.lower(), f"{one!r} and {two!r} have the same hash"


def _units(text: str) -> tuple[str, Units]:
    # A few capitals are longer in small letters; then the places of words are those of the small ones.
    small = text.lower()
    return (text if len(small) == len(text) else small), units_of([small])
