"""Runs of thirteen words: all of a text, or fingerprints of which two texts that share a run have one in common.

Thirteen words as in Brown et al. 2020 ("Language Models are Few-Shot Learners", appendix C); in writing without spaces
as many characters as make them. Case, spacing and punctuation make no difference. n: texts; R: runs or fingerprints.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llm.shingles import Hashes, Numbers, Units, hashes_of, units_of

WORDS = 13
# Of the windows of 6 short runs in each run of thirteen words, the smallest hashes are kept (winnowing: Schleimer,
# Wilkerson, Aiken 2003): 8 + 6 - 1 = 13, and 2 of 7 short runs are kept on average.
_WORDS_IN_SHORT_RUN = 8


def runs(texts: Sequence[str]) -> tuple[Hashes, Numbers]:
    """(R,) hashes of all runs of n texts, one text after another, and (n + 1,) where each text's begin.

    A text of fewer words is one run; one without any is none.
    """
    units = units_of([text.casefold() for text in texts])
    return _windows(units, np.minimum(WORDS * units.scale, units.counts))


def quoted_run(text: str, number: int) -> str:
    """The run with that number, from 0, in the letters of its text."""
    folded = text.casefold()
    units = units_of([folded])
    last = min(number + WORDS * int(units.scale[0]), int(units.counts[0])) - 1
    return folded[units.begins[number] : units.ends[last]]


def fingerprints(texts: Sequence[str]) -> tuple[Hashes, Numbers]:
    """(R,) fingerprints of n texts, one text after another, and (n,) how many each has.

    Texts that share a run of thirteen words share one; those that share one have eight words in a row in common.
    """
    units = units_of([text.casefold() for text in texts])
    long = units.counts >= WORDS * units.scale
    width = np.where(long, _WORDS_IN_SHORT_RUN * units.scale, 0)
    short, starts = _windows(units, width)
    owner = np.repeat(np.arange(len(texts)), np.diff(starts))
    found, owners = [], []
    for scale in np.unique(units.scale[long]).tolist():
        chosen = units.scale[owner] == scale
        smallest, of = _smallest(short[chosen], owner[chosen], window=(WORDS - _WORDS_IN_SHORT_RUN) * scale + 1)
        found.append(smallest)
        owners.append(of)
    values, of = np.concatenate([np.empty(0, np.uint64), *found]), np.concatenate([np.empty(0, np.int64), *owners])
    return values[np.argsort(of, kind="stable")], np.bincount(of, minlength=len(texts))


def _windows(units: Units, width: Numbers) -> tuple[Hashes, Numbers]:
    """Hashes of all windows of (n,) `width` units, none of width 0, and (n + 1,) where each text's begin."""
    counts = np.where(width > 0, units.counts - width + 1, 0)
    starts = np.append(0, np.cumsum(counts))
    # Behind each window of a text the next begins one unit further.
    first = np.cumsum(units.counts) - units.counts
    begins = np.arange(starts[-1]) + np.repeat(first - starts[:-1], counts)
    return hashes_of(units.hashes, begins, begins + np.repeat(width, counts)), starts


def _smallest(values: Hashes, owner: Numbers, *, window: int) -> tuple[Hashes, Numbers]:
    """The smallest of each `window` values in a row of one owner, once where windows in a row have the same."""
    count = len(values) - window + 1
    smallest = values[:count]
    for shift in range(1, window):
        smallest = np.minimum(smallest, values[shift : shift + count])
    within = owner[:count] == owner[window - 1 :]
    smallest, owner = smallest[within], owner[:count][within]
    new = np.append(True, (smallest[1:] != smallest[:-1]) | (owner[1:] != owner[:-1]))[: len(smallest)]
    return smallest[new], owner[new]
