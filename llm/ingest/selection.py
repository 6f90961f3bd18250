"""Which records of all shards a corpus keeps, and in which split: decided over numbers, without reading texts again.

N: records of all shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llm.cleaning.config import CleaningConfig
from llm.errors import CorpusError
from llm.ingest.contamination import is_among
from llm.ingest.index import Index
from llm.ingest.overlaps import find_overlaps
from llm.ingest.word_runs import WORDS
from llm.near_duplicates import Signatures, clusters
from llm.shingles import Hashes, Numbers
from llm.splits import SPLITS, SplitConfig, splits_of

# Examples that an error names.
_NAMED = 3
# Records whose hashes are sorted together.
_SORTED_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Selection:
    """`split`: (N,) int8, the number of a record's split in SPLITS, whether it is kept or not.

    `step`: (N,) int8, the number in STEPS of what dropped a record, or -1; `other`: (N,) int32, the record for whose
    sake it was dropped, or -1. `signatures`: (N, P), where near duplicates are looked for.
    """

    split: NDArray[np.int8]
    step: NDArray[np.int8]
    other: NDArray[np.int32]
    signatures: Signatures | None = None

    @property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) true for what the corpus keeps."""
        return self.step < 0

    def drop(self, name: str, rows: NDArray[np.int64], other: NDArray[np.int64] | None = None) -> None:
        """Note that the step `name` dropped `rows` (indices)."""
        self.step[rows] = list(STEPS).index(name)
        if other is not None:
            self.other[rows] = other


def select(
    index: Index, cleaning: CleaningConfig, splits: SplitConfig, *, signatures: Signatures | None = None
) -> Selection:
    """Go through STEPS, one after another; near duplicates are looked for where there are (N, P) `signatures`.

    Raises CorpusError when labels contradict each other more than `cleaning.maximum_conflicting_share` allows, when
    `cleaning.leaks` forbids what it would remove, or when a held-out text is one of training in the end.
    """
    count = len(index)
    selection = Selection(
        split=splits_of(index.column("place"), splits),
        step=np.full(count, -1, dtype=np.int8),
        other=np.full(count, -1, dtype=np.int32),
        signatures=signatures,
    )
    for step in STEPS.values():
        step(index, cleaning, selection)
    _check_apart(index, selection)
    return selection


def _check_apart(index: Index, selection: Selection) -> None:
    """Refuse what must never be, whatever the steps did: a text of training that is held out too."""
    train = selection.kept & (selection.split == SPLITS.index("train"))
    held_out = selection.kept & ~train
    known = np.unique(np.concatenate([values[held_out[rows]] for rows, values in index.parts("text")]))
    shared = sum(int(is_among(values[train[rows]], known).sum()) for rows, values in index.parts("text"))
    if shared:
        raise CorpusError(
            f"train rows in test: {shared:,} records of training have a held-out text after all steps",
            remedy="this is a mistake of Nightshift; report it with the options under corpus and cleaning",
        )


def _duplicate(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:  # noqa: ARG001
    """All fields are those of an earlier record."""
    for rows, first in runs_of_equals(index.column("record"), of=selection.kept):
        selection.drop("duplicate", rows[~first], _of_run(rows[first], first)[~first])


def _conflicting_label(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:
    """The text has another label elsewhere: no answer would be right."""
    labels = index.label_numbers()
    labelled = selection.kept & (labels >= 0)
    if not labelled.any():
        return
    runs = [_conflicts(rows, first, labels[rows]) for rows, first in runs_of_equals(index.column("text"), of=labelled)]
    found, others = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    share = found.size / int(labelled.sum())
    if share > cleaning.maximum_conflicting_share:
        named = "; ".join(
            f"{index.where(row)} says {index.labels[labels[row]]!r}" for row in sorted(found.tolist())[:_NAMED]
        )
        raise CorpusError(
            f"conflicting labels: {found.size:,} of {int(labelled.sum()):,} records ({share:.1%}) have a text that has "
            f"another label elsewhere, more than cleaning.maximum_conflicting_share = "
            f"{cleaning.maximum_conflicting_share:.1%}: {named}",
            remedy="agree on one label for each text, or raise cleaning.maximum_conflicting_share to leave them out",
        )
    selection.drop("conflicting_label", found, others)


def _conflicts(rows: Numbers, first: NDArray[np.bool_], labels: Numbers) -> tuple[Numbers, Numbers]:
    """Of runs of equal texts, the rows of those with several labels, and for each a row with another."""
    differs = labels != _of_run(labels[first], first)
    starts = np.flatnonzero(first)
    if not starts.size:
        return rows, rows
    conflict = _of_run(np.logical_or.reduceat(differs, starts), first)
    # The first that differs stands for all the others.
    second = np.minimum.reduceat(np.where(differs, np.arange(rows.size), rows.size - 1), starts)
    others = np.where(differs, _of_run(rows[first], first), rows[_of_run(second, first)])
    return rows[conflict], others[conflict]


def _near_duplicate(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:  # noqa: ARG001
    """Much of the text is that of another record: of such a cluster, the record that is held out most stays."""
    if cleaning.near_duplicates is None or selection.signatures is None:
        return
    rows = np.flatnonzero(selection.kept)
    cluster = clusters(selection.signatures, threshold=cleaning.near_duplicates)[rows]
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
        order = np.argsort(index.column("record")[rows], kind="stable")
        selection.drop("over_maximum", rows[order[cleaning.maximum_records :]])


def _leaked(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:
    """The text is in a split that is held out more: groups are apart, but one text may be in several groups."""
    parts = []
    # The higher the number in SPLITS, the further it is from training: of equal texts, that comes first.
    for rows, first in runs_of_equals(index.column("text"), of=selection.kept, then=-selection.split):
        split = selection.split[rows]
        leaked = split != _of_run(split[first], first)
        parts.append((rows[leaked], _of_run(rows[first], first)[leaked]))
    found, holders = (np.concatenate(values) for values in zip(*parts, strict=True))
    if cleaning.leaks == "refuse":
        _refuse_leaks(found, holders, index, selection, what="have a text that a split further from training holds too")
    selection.drop("leaked", found, holders)


def _overlapping(index: Index, cleaning: CleaningConfig, selection: Selection) -> None:
    """Thirteen words in a row are those of a held-out text."""
    if cleaning.overlaps == "keep":
        return
    train = selection.split == SPLITS.index("train")
    found, holders = find_overlaps(index, train=selection.kept & train, held_out=selection.kept & ~train)
    if cleaning.leaks == "refuse":
        _refuse_leaks(found, holders, index, selection, what=f"share {WORDS} words in a row with a held-out text")
    selection.drop("overlapping", found, holders)


def _refuse_leaks(found: Numbers, holders: Numbers, index: Index, selection: Selection, *, what: str) -> None:
    if found.size:
        first = int(np.argmin(found))
        row, holder = int(found[first]), int(holders[first])
        raise CorpusError(
            f"train rows in test: {found.size:,} records {what}, such as {index.where(row)} "
            f"({SPLITS[selection.split[row]]}) and {index.where(holder)} ({SPLITS[selection.split[holder]]})",
            remedy="give such records one group, or set cleaning.leaks to remove",
        )


def runs_of_equals(
    values: Hashes, *, of: NDArray[np.bool_], then: NDArray[np.int8] | None = None
) -> Iterator[tuple[Numbers, NDArray[np.bool_]]]:
    """Records (N,) `of` in the order of their hashes, equals by `then` and as they stand, and where each run begins.

    Those whose hashes begin alike come together, some million at once: sorting takes several times their memory.
    """
    bits = int(of.sum() // _SORTED_AT_ONCE).bit_length()
    for turn in range(1 << bits):
        low, high = (np.uint64(edge) for edge in (turn << (64 - bits), ((turn + 1) << (64 - bits)) - 1))
        rows = np.flatnonzero(of & (values >= low) & (values <= high))
        part = values[rows]
        order = np.argsort(part, kind="stable") if then is None else np.lexsort((then[rows], part))
        ordered = part[order]
        yield rows[order], np.append(np.ones(min(1, len(ordered)), dtype=bool), ordered[1:] != ordered[:-1])


def _of_run(values: NDArray[Any], first: NDArray[np.bool_]) -> NDArray[Any]:
    """(runs,) a value of each run -> (n,) for each of its members."""
    return np.repeat(values, np.diff(np.flatnonzero(first), append=len(first)))


STEPS: dict[str, Callable[[Index, CleaningConfig, Selection], None]] = {
    "duplicate": _duplicate,
    "conflicting_label": _conflicting_label,
    "near_duplicate": _near_duplicate,
    "over_maximum": _over_maximum,
    "leaked": _leaked,
    "overlapping": _overlapping,
}
REASONS = {
    "duplicate": "the same as {other}",
    "conflicting_label": "has another label in {other}",
    "near_duplicate": "nearly the same as {other}",
    "over_maximum": "not among the cleaning.maximum_records that were drawn",
    "leaked": "the text of {other}, which is held out",
    "overlapping": "shares thirteen words in a row with {other}, which is held out",
}
