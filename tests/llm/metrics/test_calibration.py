"""Calibration by hand, and on scores that are true or too sure by construction."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from llm.errors import InputError
from llm.metrics.calibration import calibration_error, error_when_calibrated, reliability, wilson


def test_the_error_is_the_mean_over_rows_of_how_far_their_bin_is_off():
    bins = reliability([0.5, 0.7, 0.9, 0.9], [0, 1, 1, 1], bins=2)
    # Bins 0.5, 0.7 (half right, 0.6 expected) and 0.9, 0.9 (all right).
    assert [(one.rows, one.score, one.right) for one in bins] == [(2, pytest.approx(0.6), 0.5), (2, 0.9, 1.0)]
    assert calibration_error(bins) == pytest.approx(100 * (0.1 + 0.1) / 2)


def test_rows_of_equal_score_stay_in_one_bin():
    for scores in ([0.2, 0.4] + [1.0] * 98, [0.2] * 98 + [0.8, 1.0]):
        assert sorted(one.rows for one in reliability(scores, [1] * 100)) == [2, 98]


def test_bins_hold_about_equally_many_rows():
    scores = np.random.default_rng(0).beta(8, 1, 1500)
    rows = [one.rows for one in reliability(scores, scores > 0.5)]
    assert len(rows) == 15
    assert min(rows) >= 99
    assert max(rows) <= 101


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return np.random.default_rng(4).beta(6, 1.5, 3000)


def test_true_scores_err_as_chance_does_and_scores_that_are_too_sure_more(scores):
    random = np.random.default_rng(5)
    low, high = error_when_calibrated(scores)
    assert 0 < low < high
    within = [calibration_error(reliability(scores, random.random(3000) < scores)) for _ in range(200)]
    assert 0.9 <= np.mean([low <= one <= high for one in within]) <= 0.99
    too_sure = calibration_error(reliability(scores, random.random(3000) < scores**2))
    assert too_sure > 2 * high


def test_the_interval_of_a_share_is_wilson_s():
    other = scipy.stats.binomtest(45, 50).proportion_ci(method="wilson")
    assert wilson(0.9, 50) == pytest.approx((other.low, other.high))
    assert wilson(1.0, 10)[1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("scores", "correct", "problem"),
    [([], [], "scores for"), ([0.5], [1, 0], "scores for"), ([1.5], [1], "not between 0 and 1")],
)
def test_scores_that_are_no_probabilities_are_refused(scores, correct, problem):
    with pytest.raises(InputError, match=problem):
        reliability(scores, correct)
