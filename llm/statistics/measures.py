"""The metrics that decide, as functions of columns that add up over rows; each knows how two models are compared in it.

Shapes: N rows, K additive columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llm.errors import InputError
from llm.statistics import mcnemar
from llm.statistics.comparison import LEVEL, PLANNED_POWER, Columns, Comparison, paired
from llm.statistics.randomization import compare_by_swaps

_ORDERS = 4  # BLEU counts n-grams of 1 to 4 tokens


class Measure(Protocol):
    """A metric of sums. `name` is that among a family's metrics."""

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]
    unit: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]  # what the K columns hold
    shared: ClassVar[tuple[str, ...]]  # those of them that describe the row, whoever answers; the first is its size

    def value(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """(..., K) sums over rows -> (...) metrics."""

    def compare(
        self,
        champion: ArrayLike,
        challenger: ArrayLike,
        *,
        level: float = LEVEL,
        power: float = PLANNED_POWER,
        seed: int = 0,
    ) -> Comparison:
        """Compare the (N, K) columns of two models on the same rows.

        level, power: of the difference that is stated as detectable; seed: of what is drawn at random, if anything is.

        Raises InputError when the rows are not the same ones or hold what the metric cannot be computed from.
        """


class Accuracy:
    """Percent of the rows that are right. Compared by the exact test of McNemar 1947."""

    name: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "points"
    columns: ClassVar[tuple[str, ...]] = ("correct", "count")
    shared: ClassVar[tuple[str, ...]] = ("count",)

    def value(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """100 * correct / count."""
        return _ratio(100.0 * sums[..., 0], sums[..., 1])

    def compare(
        self,
        champion: ArrayLike,
        challenger: ArrayLike,
        *,
        level: float = LEVEL,
        power: float = PLANNED_POWER,
        seed: int = 0,
    ) -> Comparison:
        """See Measure; nothing is random. Raises InputError too for a row that is not one answer, right or wrong."""
        del seed
        before, after = paired(champion, challenger, columns=self.columns, shared=self.shared)
        for figures in (before, after):
            if (figures[:, 1] != 1).any() or not np.isin(figures[:, 0], (0, 1)).all():
                raise InputError(
                    "a row's correct is not 0 or 1, or its count is not 1",
                    remedy="give one row an answer: accuracy is compared row by row",
                )
        rows = len(before)
        wins = int(((after[:, 0] == 1) & (before[:, 0] == 0)).sum())
        losses = int(((after[:, 0] == 0) & (before[:, 0] == 1)).sum())
        low, high = mcnemar.interval(wins, losses, rows=rows)
        detectable = mcnemar.detectable(wins + losses, rows=rows, level=level, power=power)
        return Comparison(
            champion=float(self.value(before.sum(axis=0))),
            challenger=float(self.value(after.sum(axis=0))),
            difference=100.0 * (wins - losses) / rows,
            low=100.0 * low,
            high=100.0 * high,
            p_better=mcnemar.p_at_least(wins, losses),
            p_worse=mcnemar.p_at_least(losses, wins),
            method=mcnemar.METHOD,
            rows=rows,
            detectable=None if detectable is None else 100.0 * detectable,
        )


class _ComparedBySwaps:
    """What measures share whose rows can only be compared by swapping answers."""

    higher_is_better: ClassVar[bool]
    columns: ClassVar[tuple[str, ...]]
    shared: ClassVar[tuple[str, ...]]

    def value(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """See Measure."""
        raise NotImplementedError

    def compare(
        self,
        champion: ArrayLike,
        challenger: ArrayLike,
        *,
        level: float = LEVEL,
        power: float = PLANNED_POWER,
        seed: int = 0,
    ) -> Comparison:
        """See Measure."""
        before, after = paired(champion, challenger, columns=self.columns, shared=self.shared)
        return compare_by_swaps(
            before,
            after,
            value=self.value,
            size=before[:, self.columns.index(self.shared[0])],
            higher_is_better=self.higher_is_better,
            level=level,
            power=power,
            seed=seed,
        )


class BitsPerByte(_ComparedBySwaps):
    """Bits a byte over documents, as llm.metrics.language_model.bits_per_byte. A row is a document.

    Documents are what is swapped: neighbouring bytes of a document depend on each other.
    """

    name: ClassVar[str] = "bits_per_byte"
    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "bits a byte"
    columns: ClassVar[tuple[str, ...]] = ("nats", "bytes")
    shared: ClassVar[tuple[str, ...]] = ("bytes",)

    def value(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """nats / (bytes * ln 2)."""
        return _ratio(sums[..., 0], sums[..., 1] * math.log(2))


class CorpusBleu(_ComparedBySwaps):
    """BLEU of a corpus, 0 to 100, as sacrebleu's defaults (Papineni et al. 2002; Post 2018). A row is a translation."""

    name: ClassVar[str] = "bleu"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "points"
    columns: ClassVar[tuple[str, ...]] = (
        "hypothesis_length",
        "reference_length",
        *(f"matches_{order}" for order in range(1, _ORDERS + 1)),
        *(f"ngrams_{order}" for order in range(1, _ORDERS + 1)),
    )
    shared: ClassVar[tuple[str, ...]] = ("reference_length",)

    def value(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """The brevity penalty times the geometric mean of the n-gram precisions.

        Papineni et al. 2002, section 2.3. A precision of 0 is smoothed exponentially (Chen and Cherry 2014, method 3):
        the k-th order without a match counts as 1 / 2^k of a match. 0 without any match or without any 4-gram.
        """
        matches, ngrams = sums[..., 2 : 2 + _ORDERS], sums[..., 2 + _ORDERS :]
        missing = matches == 0
        smoothed = np.where(missing, 0.5 ** np.cumsum(missing, axis=-1), matches)
        mean = np.exp(np.log(smoothed / np.maximum(ngrams, 1)).mean(axis=-1))
        excess = sums[..., 1] / np.maximum(sums[..., 0], 1) - 1
        penalty = np.exp(-np.maximum(excess, 0))
        defined = (ngrams > 0).all(axis=-1) & ~missing.all(axis=-1)
        return np.where(defined, 100.0 * penalty * mean, 0.0)


def is_better(measure: Measure, challenger: float, other: float) -> bool:
    """True when the figure `challenger` is strictly better than `other`; for figures that cannot be compared by row."""
    return challenger > other if measure.higher_is_better else challenger < other


def bleu_columns(hypotheses: Sequence[str], references: Sequence[str]) -> Columns:
    """(N, 10) columns of CorpusBleu for N hypotheses with one reference each, counted by sacrebleu (tokenizer 13a).

    Raises InputError when the numbers differ or are 0.
    """
    # Imported here, so that a predictor does not need sacrebleu.
    from sacrebleu.metrics.bleu import BLEU

    if len(hypotheses) != len(references) or not references:
        raise InputError(
            f"{len(hypotheses)} hypotheses for {len(references)} references",
            remedy="give one hypothesis for each reference, and at least one",
        )
    # sacrebleu's own entry for significance tests: one list of figures a row, in the order of CorpusBleu.columns.
    counted = BLEU()._extract_corpus_statistics(list(hypotheses), [list(references)])
    return np.asarray(counted, dtype=np.float64)


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    # An empty subset has no metric; it counts as 0 for both models.
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=np.asarray(below) > 0)
