"""What the texts of a corpus look like, by a few hundred of them: the languages that they are written in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.cleaning.config import JUDGED_LETTERS
from llm.cleaning.languages import language_of
from llm.ingest.index import Index

_DRAWN = 400
# Characters of a text that its language is judged by.
_JUDGED = 300


def drawn_languages(index: Index, kept: NDArray[np.bool_], fields: Sequence[str]) -> dict[str, Any]:
    """Of (N,) kept records, how many are drawn, and by text field how many of those are in each language.

    Drawn are the records of the smallest hashes, so that a corpus that grew is looked at where it was before. A text
    with fewer than JUDGED_LETTERS letters is not judged.
    """
    hashes = index.column("record")
    # Hashes are uniform: below this bound there are some four times as many as are drawn.
    bound = min(1.0, 4 * _DRAWN / max(1, int(kept.sum()))) * np.float64(2**64 - 2**11)
    rows = np.flatnonzero(kept & (hashes <= np.uint64(bound))) if bound < 2**63 else np.flatnonzero(kept)
    rows = np.sort(rows[np.argsort(hashes[rows], kind="stable")[:_DRAWN]])
    counts: dict[str, Counter[str]] = {name: Counter() for name in fields}
    for _, texts in index.texts(rows):
        for name, text in zip(fields, texts, strict=True):
            beginning = text[:_JUDGED]
            if sum(map(str.isalpha, beginning)) >= JUDGED_LETTERS:
                counts[name][language_of(beginning)[0]] += 1
    return {"drawn": int(rows.size), "fields": {name: dict(found) for name, found in counts.items()}}
