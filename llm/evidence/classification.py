"""What a classifier shows: calibration, confused classes, confident mistakes.

N: test rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llm.evidence import pictures
from llm.evidence.base import Evidence, Table, drawn, worst_and_best
from llm.metrics import calibration
from llm.metrics.confusion import Confusion

_PAIRS = 10
_CLASSES_SHOWN = 20  # in the picture


def classification_evidence(
    texts: Sequence[str], labels: Sequence[str], answers: Sequence[Mapping[str, Any]]
) -> Evidence:
    """N texts, their labels, and the answers: {"label", "score"}, the score being the label's probability."""
    found = [str(answer["label"]) for answer in answers]
    scores = np.array([answer["score"] for answer in answers], dtype=np.float64)
    correct = np.array([one == label for one, label in zip(found, labels, strict=True)])
    bins = calibration.reliability(scores, correct)
    error = calibration.calibration_error(bins)
    chance = calibration.error_when_calibrated(scores)
    confusion = Confusion.of(found, labels)
    confidence = np.where(correct, scores, -scores)

    def cells(row: int) -> tuple[str, str, str, float]:
        return texts[row], found[row], labels[row], float(scores[row])

    head = ("text", "answer", "right answer", "score")
    return Evidence(
        figures={
            "calibration_error": error,
            "mean_score": 100.0 * float(scores.mean()),
        },
        tables=[
            _reliability_table(bins, error=error, chance=chance),
            _pairs_table(confusion),
            worst_and_best(confidence, cells, head=head, by="score: confident and wrong, then confident and right"),
            Table("Twenty test rows", "Drawn by seed.", head, [cells(row) for row in drawn(len(texts))]),
        ],
        weaknesses=[*_calibration_weakness(error, chance, scores, correct), *_confusion_weakness(confusion)],
        data={
            "reliability": [one.facts() for one in bins],
            "calibration_error_of_a_calibrated_model": list(chance),
            "confusion": {"labels": list(confusion.names), "counts": confusion.counts.tolist()},
        },
        pictures={
            "reliability.png": pictures.reliability(bins),
            "confusion.png": _picture(confusion),
        },
    )


def _reliability_table(bins: Sequence[calibration.Bin], *, error: float, chance: tuple[float, float]) -> Table:
    note = (
        f"Expected calibration error {error:.3g} points (Guo et al. 2017, {len(bins)} bins of equally many rows); by "
        f"chance a perfectly calibrated model would show {chance[0]:.3g} to {chance[1]:.3g}."
    )
    rows = [(one.rows, one.score, one.right, f"{one.low:.3f} to {one.high:.3f}") for one in bins]
    return Table("Calibration", note, ("rows", "mean score", "share right", "95 % interval"), list(rows))


def _pairs_table(confusion: Confusion) -> Table:
    rows = [(truth, given, rows, f"{100 * share:.3g} %") for truth, given, rows, share in confusion.pairs(_PAIRS)]
    head = ("right answer", "answer", "rows", "of the right answer's rows")
    return Table("Most confused classes", "The whole matrix is in evidence.json.", head, list(rows))


def _picture(confusion: Confusion) -> bytes:
    shown = confusion.largest(_CLASSES_SHOWN)
    return pictures.confusion(shown.names, shown.counts)


def _calibration_weakness(error: float, chance: tuple[float, float], scores: Any, correct: Any) -> list[str]:
    if error <= chance[1]:
        return []
    over = float(scores.mean() - correct.mean())
    return [
        f"Scores are {'higher' if over > 0 else 'lower'} than the share of right answers by {100 * abs(over):.2g} "
        f"points on average (calibration error {error:.2g} points, by chance up to {chance[1]:.2g})."
    ]


def _confusion_weakness(confusion: Confusion) -> list[str]:
    told = [f"{truth} for {given} ({100 * share:.2g} %)" for truth, given, _, share in confusion.pairs(3)]
    return [f"Most often takes {', '.join(told)}."] if told else []
