"""McNemar's test against scipy, its interval by coverage and by hand, and what it can detect by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from llm.errors import InputError
from llm.statistics.mcnemar import detectable, interval, p_at_least
from llm.statistics.measures import Accuracy


def rows(right):
    right = np.asarray(right, dtype=float)
    return np.stack([right, np.ones(len(right))], axis=1)


@pytest.mark.parametrize(("wins", "losses"), [(8, 2), (2, 8), (0, 6), (5, 5), (130, 90), (0, 0)])
def test_p_values_are_those_of_scipy_over_the_rows_that_differ(wins, losses):
    champion = rows([0] * wins + [1] * losses + [1] * 20 + [0] * 10)
    challenger = rows([1] * wins + [0] * losses + [1] * 20 + [0] * 10)
    found = Accuracy().compare(champion, challenger)
    if wins + losses:
        expected = binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue
        other = binomtest(losses, wins + losses, 0.5, alternative="greater").pvalue
        assert (found.p_better, found.p_worse) == pytest.approx((expected, other), rel=1e-12)
    else:
        assert (found.p_better, found.p_worse) == (1.0, 1.0)
    assert found.difference == pytest.approx(100 * (wins - losses) / len(champion))
    assert found.rows == len(champion)


def test_six_wins_against_none_are_a_coin_that_falls_six_times():
    assert p_at_least(6, 0) == pytest.approx(1 / 64)


def test_interval_is_the_adjusted_one_worked_out_by_hand():
    # (8 + 1) / 102 and (2 + 1) / 102.
    middle, spread = 6 / 102, math.sqrt((12 / 102 - (6 / 102) ** 2) / 102)
    assert interval(8, 2, rows=100) == pytest.approx((middle - 1.959964 * spread, middle + 1.959964 * spread))


@pytest.mark.parametrize(("differing", "difference"), [(0.08, 0.0), (0.08, 0.06), (0.3, 0.1)])
@pytest.mark.parametrize("count", [50, 1000])
def test_interval_covers_the_truth_as_often_as_it_says(count, differing, difference):
    random = np.random.default_rng(count)
    shares = [(differing + difference) / 2, (differing - difference) / 2, 1 - differing]
    drawn = random.multinomial(count, shares, size=1500)
    ends = [interval(int(wins), int(losses), rows=count) for wins, losses, _ in drawn]
    assert 0.935 <= np.mean([low <= difference <= high for low, high in ends]) <= 0.995


def test_no_row_that_differs_still_leaves_an_interval():
    low, high = interval(0, 0, rows=100)
    assert -0.05 < low < 0 < high < 0.05
    assert interval(1, 0, rows=1)[1] <= 1.0


@pytest.mark.parametrize(("base", "count"), [(0, 2000), (60, 2000), (400, 3000)])
def test_a_difference_of_the_stated_size_is_detected_as_often_as_planned(base, count):
    level, power = 0.025, 0.9
    size = detectable(base, rows=count, level=level, power=power)
    random = np.random.default_rng(1)
    # The rows that a real difference adds all differ in its direction.
    wins = random.binomial(count, base / 2 / count + size, size=3000)
    losses = random.binomial(count, base / 2 / count, size=3000)
    shown = np.mean([p_at_least(int(a), int(b)) <= level for a, b in zip(wins, losses, strict=True)])
    assert 0.85 <= shown <= 0.999


def test_too_few_rows_detect_nothing():
    assert detectable(0, rows=5, level=0.025, power=0.8) is None
    assert detectable(5, rows=5, level=0.025, power=0.8) is None
    found = Accuracy().compare(rows([0]), rows([1]))
    assert (found.p_better, found.p_worse, found.detectable) == (0.5, 1.0, None)


def test_exchanging_the_models_exchanges_better_and_worse():
    random = np.random.default_rng(2)
    champion, challenger = rows(random.random(200) < 0.8), rows(random.random(200) < 0.7)
    one, other = Accuracy().compare(champion, challenger), Accuracy().compare(challenger, champion)
    assert (one.p_better, one.p_worse) == (other.p_worse, other.p_better)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    order = random.permutation(200)
    assert Accuracy().compare(champion[order], challenger[order]) == one


def test_level_is_held_when_both_models_are_equally_good():
    random = np.random.default_rng(3)
    skill = 1 / (1 + np.exp(-random.normal(2, 2, (1500, 300))))
    champion, challenger = (random.random(skill.shape) < skill for _ in range(2))
    found = [Accuracy().compare(rows(a), rows(b)).p_better for a, b in zip(champion, challenger, strict=True)]
    assert 0.008 <= np.mean(np.array(found) <= 0.025) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 1500)


@pytest.mark.parametrize("wrong", [[[0.5, 1.0]], [[2.0, 1.0]], [[1.0, 2.0]]])
def test_a_row_that_is_not_one_answer_is_refused(wrong):
    with pytest.raises(InputError, match="correct is not 0 or 1"):
        Accuracy().compare(wrong, wrong)
