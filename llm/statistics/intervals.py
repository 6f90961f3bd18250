"""How far a figure may be off because the test rows are these and not others: percentile bootstrap intervals.

A resample draws as many rows as there are, with replacement; the figures of 1,000 resamples stand for those of other
test splits, and the middle 95 % of them are the interval (Efron 1979; Efron and Tibshirani 1993, chapter 13). Of few
rows that weigh very differently it is a little too narrow: in simulations of documents whose bits a byte rise with
their length, 92.5 % of the intervals of 200 documents held the truth, 92.9 % of 400 and 94.6 % of 1,000; where bits a
byte do not depend on length, 94 to 95 %. Where rows are all alike, each of them right, it has no width. Rows are drawn
one by one although those of one group (a play, a component) resemble each other: over other groups figures vary more.

Every metric of an evaluation is a function of sums over rows and has such an interval. Other figures of a set of texts
have other ones. Distinct-n is measured over all of them together, and a resample repeats texts, which by itself makes
them less distinct: of 150 simulated sets of 20 texts no bootstrap interval held the truth. Its interval is the
jackknife's, which leaves out texts and repeats none; it held the truth for 97 % (distinct-1) and 94 % (distinct-2) of
500 sets. A median's lies between two of the values, by the binomial distribution. A maximum has none: of more rows it
would be higher.

Shapes: N rows, G kinds of rows, K additive columns, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.errors import InputError
from llm.statistics.comparison import COVERAGE, Columns

RESAMPLES = 1000
_CELLS_AT_ONCE = 1 << 21  # row numbers that are drawn together; 16 MiB

Value = Callable[[NDArray[np.float64]], NDArray[np.float64]]
# Low and high, in the metric's unit.
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class RowSums:
    """A metric of sums over test rows: `value` makes (..., K) sums into (...) figures.

    columns: (N, K), what each row adds. Where rows are of few kinds, (G, K), what a row of each kind adds, and `kinds`
    (N,) numbers the kind of each row.
    """

    value: Value
    columns: Columns
    kinds: NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        """N."""
        return len(self.columns) if self.kinds is None else len(self.kinds)

    def figure(self) -> float:
        """The metric over all rows."""
        counts = np.ones(self.rows) if self.kinds is None else np.bincount(self.kinds, minlength=len(self.columns))
        return float(self.value(counts @ self.columns))

    def part(self, mask: NDArray[np.bool_]) -> RowSums:
        """The same metric over the rows in `mask`, (N,) bool."""
        if self.kinds is None:
            return RowSums(self.value, self.columns[mask])
        return RowSums(self.value, self.columns, self.kinds[mask])


def interval(sums: RowSums, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The 95 % interval of the metric; the same seed draws the same rows of every metric.

    Raises InputError when there is no row, or a figure of a resample is not finite.
    """
    if sums.rows == 0:
        raise InputError("an interval over 0 rows does not exist", remedy="give the test split some rows")
    figures = sums.value(resampled(sums, seed=seed, resamples=resamples))
    if not np.isfinite(figures).all():
        raise InputError(
            "a figure of a resample is not finite", remedy="score this model again; one that answers with NaN is broken"
        )
    low, high = np.quantile(figures, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def intervals(sums: Mapping[str, RowSums], *, seed: int = 0) -> dict[str, Interval]:
    """The interval of each metric, by name."""
    return {name: interval(one, seed=seed) for name, one in sums.items()}


def jackknife_interval(figure: float, without: Sequence[float]) -> Interval:
    """The 95 % interval of a figure of N rows out of the figures `without` each of them (N,).

    By Student's t over the jackknife's standard error (Tukey 1958; Efron and Tibshirani 1993, eq. 11.5). Raises
    InputError when there are fewer than two rows.
    """
    from scipy.stats import t

    rows = len(without)
    if rows < 2:
        raise InputError(f"an interval by leaving rows out needs two, not {rows}", remedy="give more rows")
    error = math.sqrt((rows - 1) * float(np.var(without)))
    reach = float(t.ppf((1 + COVERAGE) / 2, rows - 1)) * error
    return figure - reach, figure + reach


def median_interval(values: Sequence[float]) -> Interval:
    """An interval between two of N values, each as far from its end, that holds the median in 95 % of cases or more.

    Of any distribution: how many values lie below the median is binomial (Thompson 1936). Of fewer than 6 values
    even the whole range holds it less often. Raises InputError when there is no value.
    """
    from scipy.stats import binom

    if not len(values):
        raise InputError("an interval over 0 rows does not exist", remedy="give the test split some rows")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    # The k-th value from each end: the median lies outside when fewer than k values lie on one side of it.
    outside = binom.cdf(np.arange((count + 1) // 2), count, 0.5)
    place = max(0, int((2 * outside <= 1 - COVERAGE).sum()) - 1)
    return float(ordered[place]), float(ordered[count - 1 - place])


def resampled(sums: RowSums, *, seed: int, resamples: int) -> NDArray[np.float64]:
    """(R, K): the sums over each resample."""
    random = np.random.default_rng(seed)
    rows, kinds = sums.rows, len(sums.columns)
    at_once = max(1, _CELLS_AT_ONCE // max(rows, kinds))
    found = []
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = random.integers(0, rows, (count, rows))
        if sums.kinds is not None:
            drawn = sums.kinds[drawn]
        drawn += np.arange(count)[:, None] * kinds
        # How often each row (or kind of row) was drawn: the sums are then one product of matrices.
        times = np.bincount(drawn.ravel(), minlength=count * kinds).reshape(count, kinds)
        found.append(times.astype(np.float64) @ sums.columns)
    return np.concatenate(found)
