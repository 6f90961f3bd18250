"""Whether a classifier's score says how often it is right.

Bins hold equally many rows (Nixon et al. 2019, "Measuring Calibration in Deep Learning", section 4): the scores of a
good model crowd below 1, where bins of equal width hold nearly all rows in one, and a few rows decide about the others.

Shapes: N rows, B bins, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm.errors import InputError
from llm.statistics.comparison import COVERAGE
from llm.statistics.intervals import RESAMPLES, Interval

BINS = 15  # as Guo et al. 2017
_CELLS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Bin:
    """Rows of like score: how many, their mean score, the share that is right and its 95 % interval; from 0 to 1."""

    rows: int
    score: float
    right: float
    low: float
    high: float

    def facts(self) -> dict[str, Any]:
        """Fields by name, for JSON."""
        return asdict(self)


def reliability(scores: ArrayLike, correct: ArrayLike, *, bins: int = BINS) -> tuple[Bin, ...]:
    """(N,) probabilities of the answers given, (N,) whether they are right -> at most `bins` bins, lowest scores first.

    Rows of equal score are in the same bin.

    Raises InputError when the lengths differ or are 0, or when a score is not a probability.
    """
    values, right = _checked(scores, correct)
    places = _places(values, bins)
    found = []
    for place in np.unique(places):
        inside = places == place
        rows, share = int(inside.sum()), float(right[inside].mean())
        low, high = wilson(share, rows)
        found.append(Bin(rows=rows, score=float(values[inside].mean()), right=share, low=low, high=high))
    return tuple(found)


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error in percent points: the mean over rows of how far their bin is off.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", eq. 3.
    """
    rows = sum(one.rows for one in bins)
    return 100.0 * sum(one.rows * abs(one.right - one.score) for one in bins) / rows


def error_when_calibrated(
    scores: ArrayLike, *, bins: int = BINS, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """The middle 95 % of the errors that a perfectly calibrated model with these scores would show, in points.

    Chance alone makes a mean of absolute values more than 0, and a bootstrap interval would count it twice. Here rows
    are made right at random, each with the probability that its score states (Bröcker and Smith 2007, "Increasing the
    Reliability of Reliability Diagrams").
    """
    values, _ = _checked(scores, np.ones(np.shape(scores)))
    order = np.argsort(values, kind="stable")
    values, places = values[order], _places(values[order], bins)
    starts = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
    expected = np.add.reduceat(values, starts)
    random = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // len(values))
    errors: list[NDArray[np.float64]] = []
    for start in range(0, resamples, at_once):
        right = random.random((min(at_once, resamples - start), len(values))) < values
        off = np.abs(np.add.reduceat(right.astype(np.float64), starts, axis=1) - expected)
        errors.append(100.0 * off.sum(axis=1) / len(values))
    low, high = np.quantile(np.concatenate(errors), [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def wilson(share: float, rows: int) -> Interval:
    """95 % interval of a share of independent rows, from 0 to 1 (Wilson 1927)."""
    # What scipy.stats.norm.isf calls; scipy.stats takes a second to import.
    from scipy.special import ndtri

    z = -float(ndtri((1 - COVERAGE) / 2))
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    reach = z * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2)) / (1 + z**2 / rows)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _places(values: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """(N,) the bin of each row: where the middle of the rows with its score lies among all, sorted by score."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    return np.floor(bins * middles / len(values)).astype(np.int64)[inverse.reshape(-1)]


def _checked(scores: ArrayLike, correct: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values, right = np.asarray(scores, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if values.shape != right.shape or values.ndim != 1 or not len(values):
        raise InputError(
            f"{values.shape} scores for {right.shape} answers", remedy="give one score an answer, and at least one"
        )
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("a score is not between 0 and 1", remedy="give the probability of the answer that was given")
    return values, right
