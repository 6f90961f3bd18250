"""Bootstrap intervals: by hand, against the binomial distribution and SciPy, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from llm.errors import InputError
from llm.metrics import classification, language_model, translation
from llm.statistics.intervals import (
    RowSums,
    interval,
    intervals,
    jackknife_interval,
    median_interval,
    resampled,
)
from llm.statistics.measures import Accuracy, BitsPerByte

WORDS = ["tür", "fenster", "öffnen", "schließen", "bitte", "jetzt", "{name}"]


def accuracy(right: int, rows: int) -> RowSums:
    correct = np.arange(rows) < right
    return RowSums(Accuracy().value, np.stack([correct, np.ones(rows)], axis=1).astype(np.float64))


def test_two_rows_of_which_one_is_right_are_drawn_as_none_one_or_both():
    drawn = resampled(accuracy(1, 2), seed=0, resamples=4000)
    # 2 draws of 2 rows: both times the wrong one, either one once, both times the right one.
    assert np.bincount(drawn[:, 0].astype(int)) / 4000 == pytest.approx([1 / 4, 1 / 2, 1 / 4], abs=0.03)
    assert (drawn[:, 1] == 2).all()
    assert interval(accuracy(1, 2)) == (0.0, 100.0)


def test_the_interval_of_an_accuracy_is_that_of_the_binomial_distribution():
    # A resample of n rows, a share p of them right, holds a binomial(n, p) number of right ones.
    low, high = scipy.stats.binom.ppf([0.025, 0.975], 400, 0.9) / 4
    assert interval(accuracy(360, 400), resamples=20_000) == pytest.approx((low, high), abs=0.26)


def test_rows_of_the_same_kind_are_resampled_as_rows_are():
    random = np.random.default_rng(3)
    kinds = random.integers(0, 3, 200)
    columns = np.array([[1.0, 1.0], [0.0, 1.0], [2.5, 4.0]])
    by_kind, by_row = RowSums(BitsPerByte().value, columns, kinds), RowSums(BitsPerByte().value, columns[kinds])
    np.testing.assert_array_equal(*(resampled(one, seed=5, resamples=50) for one in (by_kind, by_row)))
    assert by_kind.figure() == pytest.approx(by_row.figure())
    mask = random.random(200) < 0.4
    assert by_kind.part(mask).figure() == pytest.approx(by_row.part(mask).figure())


def test_it_is_scipy_s_percentile_bootstrap():
    random = np.random.default_rng(7)
    sizes = random.integers(20, 400, 150).astype(np.float64)
    nats = sizes * random.normal(1.4, 0.2, 150)
    sums = language_model.row_sums(nats, sizes, sizes / 4)["bits_per_byte"]
    other = scipy.stats.bootstrap(
        (nats, sizes),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis) / np.log(2),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    low, high = interval(sums, resamples=20_000)
    width = other.high - other.low
    assert (low, high) == pytest.approx((other.low, other.high), abs=0.04 * width)
    assert interval(sums) == pytest.approx((other.low, other.high), abs=0.15 * width)


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_the_same():
    sums = accuracy(70, 100)
    assert interval(sums, seed=4) == interval(sums, seed=4)
    assert len({interval(sums, seed=seed) for seed in range(8)}) > 1


def sentence(random: np.random.Generator) -> str:
    return " ".join(random.choice(WORDS, random.integers(1, 9)))


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[str], list[str]]:
    """Hypotheses, references and sources of 60 made-up translations, an empty one among them."""
    random = np.random.default_rng(11)
    wanted = [sentence(random) for _ in range(60)]
    written = [one if random.random() < 0.6 else sentence(random) for one in wanted]
    return ["", *written[1:]], wanted, wanted


def scored(subset: list[int], texts: tuple[list[str], list[str], list[str]]) -> dict[str, float]:
    written, wanted, sources = ([side[row] for row in subset] for side in texts)
    return translation.score(written, wanted, sources=sources).metrics


def test_sums_over_any_resample_give_the_metrics_of_its_rows(texts):
    sums = translation.row_sums(texts[0], texts[1], sources=texts[2])
    for seed in range(3):
        drawn = np.random.default_rng(seed).integers(0, 60, 60)
        expected = scored(drawn.tolist(), texts)
        assert set(sums) == set(expected)
        for name, one in sums.items():
            assert float(one.value(one.columns[drawn].sum(axis=0))) == pytest.approx(expected[name]), name


def test_macro_f1_of_a_resample_leaves_out_the_classes_that_it_lacks():
    random = np.random.default_rng(2)
    labels = random.choice(["a", "b", "c", "rare"], 80, p=[0.4, 0.3, 0.28, 0.02]).tolist()
    found = [one if random.random() < 0.7 else "c" for one in labels]
    sums = classification.row_sums(found, labels)
    for rows in (range(80), [row for row in range(80) if labels[row] != "rare"]):
        expected = classification.score([found[row] for row in rows], [labels[row] for row in rows])
        parts = {name: one.part(np.isin(np.arange(80), list(rows))).figure() for name, one in sums.items()}
        assert parts == pytest.approx(expected)


def test_every_metric_lies_within_its_interval(texts):
    sums = translation.row_sums(texts[0], texts[1], sources=texts[2])
    for name, (low, high) in intervals(sums).items():
        assert low < sums[name].figure() < high


def test_no_row_and_a_figure_that_is_not_finite_are_refused():
    with pytest.raises(InputError, match="0 rows"):
        interval(RowSums(Accuracy().value, np.empty((0, 2))))
    with pytest.raises(InputError, match="not finite"):
        interval(RowSums(Accuracy().value, np.array([[np.nan, 1.0], [1.0, 1.0]])))


def test_about_95_of_100_intervals_hold_the_truth():
    random = np.random.default_rng(19)
    held = 0
    for seed in range(600):
        sizes = random.gamma(2.0, 60.0, 400)
        nats = sizes * random.normal(1.5, 0.3, 400)
        low, high = interval(language_model.row_sums(nats, sizes, sizes)["bits_per_byte"], seed=seed, resamples=400)
        held += low <= 1.5 / np.log(2) <= high
    # Two standard errors of 600 trials are 1.8 points.
    assert 0.93 <= held / 600 <= 0.97


def test_the_jackknife_s_interval_of_a_mean_is_student_s():
    # Of 1, 2, 3, 6 the mean is 3 and the standard error sqrt((4 + 1 + 0 + 9) / 3 / 4) = 1.0801,
    # and Student's t with 3 degrees of freedom reaches 3.1824 of those.
    values = np.array([1.0, 2.0, 3.0, 6.0])
    without = [(12 - value) / 3 for value in values]
    assert jackknife_interval(3.0, without) == pytest.approx((3 - 3.4374349, 3 + 3.4374349))
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert jackknife_interval(3.0, without) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_a_median_is_that_of_the_sign_test():
    # Of 20 values 5 or fewer lie below the median with probability 0.0207, 6 or fewer with 0.0577.
    assert median_interval(list(range(20, 0, -1))) == (6.0, 15.0)
    # Of 5 the whole range misses it with probability 2 / 32, of 6 with 2 / 64.
    assert median_interval([3, 1, 2, 5, 4]) == (1.0, 5.0)
    assert median_interval([0] * 6) == (0.0, 0.0)
    assert median_interval(range(9)) == (1.0, 7.0)


def test_an_interval_of_too_few_rows_is_refused():
    with pytest.raises(InputError, match="needs two, not 1"):
        jackknife_interval(1.0, [1.0])
    with pytest.raises(InputError, match="0 rows"):
        median_interval([])
