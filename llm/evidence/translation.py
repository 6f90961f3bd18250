"""What a translator shows: samples, its worst and best rows, and the placeholders that it loses or makes up.

N: test rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llm.evidence.base import Evidence, Table, drawn, worst_and_best
from llm.metrics.translation import chrf_of_sums
from llm.placeholders import PLACEHOLDER
from llm.statistics.intervals import RowSums, interval

_LOST_SHOWN = 10
_HEAD = ("source", "answer", "right answer")


def translation_evidence(
    sources: Sequence[str], written: Sequence[str], references: Sequence[str], sums: Mapping[str, RowSums]
) -> Evidence:
    """N sources, translations and right answers; `sums` of the metrics, as llm.metrics.translation makes them."""
    # Of a short text alone BLEU is 0 or nothing: it has no 4-grams.
    scores = np.asarray(chrf_of_sums(sums["chrf"].columns), dtype=np.float64)
    needed = [Counter(PLACEHOLDER.findall(text)) for text in sources]
    found = [Counter(PLACEHOLDER.findall(text)) for text in written]
    with_some = [row for row, wanted in enumerate(needed) if wanted]
    broken = [row for row in with_some if needed[row] != found[row]]
    copied = [row for row, text in enumerate(written) if text == sources[row] and text != references[row]]
    empty = [row for row, text in enumerate(written) if not text.strip()]

    def cells(row: int) -> tuple[str, str, str]:
        return sources[row], written[row], references[row]

    def scored(row: int) -> tuple[float | str, ...]:
        return float(scores[row]), *cells(row)

    rows = len(sources)
    return Evidence(
        figures={
            **_exact(broken, with_some),
            "placeholders_made_up": float(sum((found[row] - needed[row]).total() for row in range(rows))),
            "left_in_the_source_language": 100.0 * len(copied) / rows,
            "without_an_answer": 100.0 * len(empty) / rows,
            "length_ratio": sum(map(len, written)) / max(1, sum(map(len, references))),
        },
        tables=[
            Table("Twenty test rows", "Drawn by seed.", _HEAD, [cells(row) for row in drawn(rows)]),
            worst_and_best(scores, scored, head=("chrF", *_HEAD), by="chrF of the row alone"),
            _broken_table(broken, with_some, cells=[cells(row) for row in broken[:_LOST_SHOWN]]),
        ],
        weaknesses=_weaknesses(broken, with_some, copied=len(copied), empty=len(empty), rows=rows),
        data={"broken_placeholders": broken, "left_in_the_source_language": copied, "without_an_answer": empty},
    )


def _exact(broken: Sequence[int], with_some: Sequence[int]) -> dict[str, float]:
    return {"placeholder_rows_exact": 100.0 * (1 - len(broken) / len(with_some))} if with_some else {}


def _broken_table(broken: Sequence[int], with_some: Sequence[int], *, cells: list[tuple[str, str, str]]) -> Table:
    note = f"{len(broken)} of {len(with_some)} rows with placeholders do not have exactly those of the source"
    if with_some:
        wrong = np.isin(with_some, broken).astype(np.float64)
        low, high = interval(RowSums(_percent, np.stack([wrong, np.ones(len(with_some))], axis=1)))
        note += f": {100 * len(broken) / len(with_some):.3g} % ({low:.3g} to {high:.3g})"
    return Table("Placeholders lost or made up", f"{note}.", _HEAD, list(cells))


def _percent(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(100.0 * sums[..., 0] / sums[..., 1])


def _weaknesses(broken: Sequence[int], with_some: Sequence[int], *, copied: int, empty: int, rows: int) -> list[str]:
    told = []
    if broken:
        told.append(f"Loses or makes up a placeholder in {len(broken)} of {len(with_some)} test rows that have some.")
    if copied:
        told.append(f"Leaves {copied} of {rows:,} test rows as they are in the source language.")
    if empty:
        told.append(f"Answers {empty} of {rows:,} test rows with nothing.")
    return told
