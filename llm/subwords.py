"""Augmentation on token ids: the same text in other pieces, or a few of its words, anew in every batch.

A model that has seen "Einstellungen" as one token only knows nothing about "Einstellung"; one that has also seen it in
pieces does. The effect is that of BPE-dropout (Provilkov et al. 2020, section 3), but works on ids that are already
there: a merge is undone after the fact, so nothing is tokenized while training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A token is taken apart at most so many levels deep.
_ROUNDS = 3


def undo_merges(
    rows: Sequence[NDArray[np.int32]], parts: NDArray[np.int32], *, probability: float, random: np.random.Generator
) -> list[NDArray[np.int32]]:
    """Rows of token ids with some tokens replaced by the two that were merged into them; each row spells the same text.

    parts (V, 2): the two tokens that make each token, or -1 where nothing was merged. In each of three rounds a merged
    token is taken apart with `probability`.
    """
    lengths = np.fromiter((len(row) for row in rows), dtype=np.int64, count=len(rows))
    ids = np.concatenate(rows)
    owner = np.repeat(np.arange(len(rows)), lengths)
    for _ in range(_ROUNDS):
        undone = (parts[ids, 0] >= 0) & (random.random(ids.size) < probability)
        copies = 1 + undone
        second = np.cumsum(copies)[undone] - 1
        pairs = parts[ids[undone]]
        ids, owner = np.repeat(ids, copies), np.repeat(owner, copies)
        ids[second - 1], ids[second] = pairs[:, 0], pairs[:, 1]
    return np.split(ids, np.cumsum(np.bincount(owner, minlength=len(rows)))[:-1])


def crop_words(
    rows: Sequence[NDArray[np.int32]],
    starts_word: NDArray[np.bool_],
    *,
    probability: float,
    longest: int,
    random: np.random.Generator,
) -> list[NDArray[np.int32]]:
    """Rows of which some keep only a run of one to `longest` words, chosen with `probability`; the frame stays.

    starts_word (V,): which tokens begin a word. A row is its first token, the text, its last token. What holds for a
    text mostly holds for its words, and short texts are rare where only sentences were collected.
    """
    cropped = []
    for row in rows:
        text = row[1:-1]
        words = np.flatnonzero(starts_word[text])
        if words.size < 2 or random.random() >= probability:
            cropped.append(row)
            continue
        count = int(random.integers(1, min(longest, words.size - 1) + 1))
        first = int(random.integers(0, words.size - count + 1))
        end = words[first + count] if first + count < words.size else text.size
        cropped.append(np.concatenate((row[:1], text[words[first] : end], row[-1:])))
    return cropped
