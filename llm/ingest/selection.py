"""Which records of all shards a corpus keeps, and in which split: decided over numbers, without reading texts again.

N: records of all shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.cleaning.config import CleaningConfig
from llm.errors import CorpusError
from llm.ingest.shards import Index
from llm.near_duplicates import clusters
from llm.splits import SPLITS, SplitConfig, splits_of

# Examples that an error names.
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Selection:
    """`split`: (N,) int8, the number of a record's split in SPLITS, whether it is kept or not.

    `step`: (N,) int8, the number in STEPS of what dropped a record, or -1; `other`: (N,) int64, the record for whose
    sake it was dropped, or -1.
    """

    split: NDArray[np.int8]
    step: NDArray[np.int8]
    other: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) true for what the corpus keeps."""
        return self.step < 0

    def drop(self, name: str, rows: NDArray[np.int64], other: NDArray[np.int64] | None = None) -> None:
        """Note that the step `name` dropped `rows` (indices)."""
        self.step[rows] = list(STEPS).index(name)
        if other is not None:
            self.other[rows] = other


def select(index: Index, cleaning: CleaningConfig, splits: SplitConfig) -> Selection:
    """Go through STEPS, one after another.

    Raises CorpusError when labels contradict each other more than `cleaning.maximum_conflicting_share` allows, or when
    `cleaning.leaks` forbids what it would remove.
    """
    count = len(index)
    selection = Selection(
        split=splits_of(index.arrays["place"], splits),
        step=np.full(count, -1, dtype=np.int8),
        other=np.full(count, -1, dtype=np.int64),
    )
    for step in STEPS.values():
        step(index, cleaning, selection)
    return selection


def _duplicate(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:  # noqa: ARG001
    """All fields are those of an earlier record."""
    _, first, inverse = np.unique(index.arrays["record"], return_index=True, return_inverse=True)
    earlier = first[inverse]
    rows = np.flatnonzero(earlier != np.arange(len(index)))
    selection.drop("duplicate", rows, earlier[rows])


def _conflicting_label(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:
    """The text has another label elsewhere: no answer would be right."""
    rows = np.flatnonzero(selection.kept & (index.arrays["label"] >= 0))
    if rows.size == 0:
        return
    labels = index.arrays["label"][rows]
    _, first, inverse = np.unique(index.arrays["text"][rows], return_index=True, return_inverse=True)
    differs = np.zeros(first.size, dtype=bool)
    np.logical_or.at(differs, inverse, labels != labels[first][inverse])
    found = rows[differs[inverse]]
    # For the first of them, the others are the contradiction; one of those stands for all.
    others = rows[first[inverse]][differs[inverse]]
    share = found.size / rows.size
    if share > cleaning.maximum_conflicting_share:
        named = "; ".join(
            f"{index.where(row)} says {index.labels[index.arrays['label'][row]]!r}" for row in found[:_NAMED]
        )
        raise CorpusError(
            f"conflicting labels: {found.size:,} of {rows.size:,} records ({share:.1%}) have a text that has another "
            f"label elsewhere, more than cleaning.maximum_conflicting_share = "
            f"{cleaning.maximum_conflicting_share:.1%}: {named}",
            remedy="agree on one label for each text, or raise cleaning.maximum_conflicting_share to leave them out",
        )
    selection.drop("conflicting_label", found, others)


def _near_duplicate(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:
    """Much of the text is that of another record: of such a cluster, the record that is held out most stays."""
    if cleaning.near_duplicates is None or index.signatures is None:
        return
    rows = np.flatnonzero(selection.kept)
    cluster = clusters(index.signatures, threshold=cleaning.near_duplicates)[rows]
    # By cluster, then the split furthest from training, then the order of reading. A text of yesterday's test split
    # stays there when tomorrow's corpus brings a copy of it that would be in train.
    order = np.lexsort((rows, -selection.split[rows].astype(np.int64), cluster))
    leads = np.append(True, cluster[order][1:] != cluster[order][:-1])[: order.size]
    leaders = rows[order][leads][np.cumsum(leads) - 1]
    selection.drop("near_duplicate", rows[order][~leads], leaders[~leads])


def _over_maximum(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:
    """Not among the `maximum_records` whose hash is smallest."""
    rows = np.flatnonzero(selection.kept)
    if 0 < cleaning.maximum_records < rows.size:
        order = np.argsort(index.arrays["record"][rows], kind="stable")
        selection.drop("over_maximum", rows[order[cleaning.maximum_records :]])


def _leaked(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:
    """The text is in a split that is held out more: groups are apart, but one text may be in several groups."""
    rows = np.flatnonzero(selection.kept)
    # The higher the number in SPLITS, the further it is from training.
    split = selection.split[rows].astype(np.int64)
    _, inverse = np.unique(index.arrays["text"][rows], return_inverse=True)
    highest = np.full(inverse.max(initial=-1) + 1, -1, dtype=np.int64)
    np.maximum.at(highest, inverse, split)
    holder = np.full(highest.size, -1, dtype=np.int64)
    top = split == highest[inverse]
    holder[inverse[top]] = rows[top]
    leaked = rows[~top]
    if leaked.size and cleaning.leaks == "refuse":
        first = leaked[0]
        raise CorpusError(
            f"train rows in test: {leaked.size:,} records have a text that a split further from training holds too, "
            f"such as {index.where(first)} ({SPLITS[selection.split[first]]}) and "
            f"{index.where(holder[inverse[~top]][0])} ({SPLITS[highest[inverse[~top]][0]]})",
            remedy="give such records one group, or set cleaning.leaks to remove",
        )
    selection.drop("leaked", leaked, holder[inverse[~top]])


STEPS: dict[str, Callable[[Index, CleaningConfig, Selection], None]] = {
    "duplicate": _duplicate,
    "conflicting_label": _conflicting_label,
    "near_duplicate": _near_duplicate,
    "over_maximum": _over_maximum,
    "leaked": _leaked,
}
REASONS = {
    "duplicate": "the same as {other}",
    "conflicting_label": "has another label in {other}",
    "near_duplicate": "nearly the same as {other}",
    "over_maximum": "not among the cleaning.maximum_records that were drawn",
    "leaked": "the text of {other}, which is held out",
}
