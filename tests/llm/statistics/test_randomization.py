"""Swaps against enumeration by hand, the level in a small simulation, and the interval as the test's own inversion."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from benchmarks.gate_calibration import FAMILIES, split_of
from llm.statistics.measures import BitsPerByte, CorpusBleu
from llm.statistics.randomization import PATTERNS, p_values, subset_sums, typical_interval

BITS = BitsPerByte()


def documents(count, *, seed, better=0.0):
    """Documents of very different lengths; the challenger is better by so many bits a byte."""
    random = np.random.default_rng(seed)
    size = np.ceil(np.exp(random.normal(8, 1.5, count)))
    nats = size * math.log(2) * (2.0 + 0.02 * random.standard_t(4, (2, count)) - [[0.0], [better]])
    return np.stack([nats[0], size], axis=1), np.stack([nats[1], size], axis=1)


def test_sign_flips_of_five_documents_are_all_32_counted_by_hand():
    champion, challenger = documents(5, seed=1, better=0.01)
    change = challenger[:, 0] - champion[:, 0]
    flipped = [np.dot(signs, change) for signs in itertools.product((1, -1), repeat=5)]
    found = BITS.compare(champion, challenger)
    # Fewer nats are better.
    assert found.p_better == sum(total <= change.sum() + 1e-9 for total in flipped) / 32
    assert found.p_worse == sum(total >= change.sum() - 1e-9 for total in flipped) / 32
    assert "all 32 swaps" in found.method


def test_more_documents_than_can_be_listed_agree_with_all_sign_flips():
    champion, challenger = documents(14, seed=2, better=0.005)
    change = challenger[:, 0] - champion[:, 0]
    signs = 1 - 2 * (np.arange(1 << 14)[:, None] >> np.arange(14) & 1)
    exact = (signs @ change <= change.sum() + 1e-9).mean()
    found = BITS.compare(champion, challenger)
    assert 0.01 < exact < 0.99
    assert found.p_better == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / PATTERNS))


def test_swapping_whole_translations_of_three_rows_is_counted_by_hand():
    measure = CorpusBleu()
    random = np.random.default_rng(3)
    rows = split_of(random, FAMILIES["translation"], rows=3)
    champion, challenger = FAMILIES["translation"].answer(random, rows, np.full(3, 0.5))

    def difference(swaps):
        a = sum(new if swap else old for swap, old, new in zip(swaps, champion, challenger, strict=True))
        b = sum(old if swap else new for swap, old, new in zip(swaps, champion, challenger, strict=True))
        return float(measure.value(b) - measure.value(a))

    swapped = [difference(swaps) for swaps in itertools.product((False, True), repeat=3)]
    found = measure.compare(champion, challenger)
    assert found.difference == pytest.approx(swapped[0])
    assert found.p_better == sum(one >= swapped[0] - 1e-9 for one in swapped) / 8


@pytest.mark.parametrize("count", [5, 8, 40, 400])
def test_interval_leaves_out_zero_exactly_when_the_test_shows_a_difference(count):
    shown = 0
    for seed in range(40):
        found = BITS.compare(*documents(count, seed=seed, better=0.02 / math.sqrt(count)))
        assert (found.p_better <= 0.025) == (found.high < 0)
        assert (found.p_worse <= 0.025) == (found.low > 0)
        shown += found.p_better <= 0.025
    # Five documents can show nothing at this level: 1/32 is above it.
    assert shown == 0 if count == 5 else 0 < shown < 40


def test_interval_of_six_documents_goes_from_the_best_of_them_to_the_worst():
    champion, challenger = documents(6, seed=4)
    each = (challenger - champion)[:, 0] / (champion[:, 1] * math.log(2))
    found = BITS.compare(champion, challenger)
    assert (found.low, found.high) == pytest.approx((each.min(), each.max()))


def test_one_document_tells_nothing():
    found = BITS.compare([[2.0, 1.0]], [[1.0, 1.0]])
    assert (found.p_better, found.p_worse) == (0.5, 1.0)
    assert (found.low, found.high, found.detectable) == (-math.inf, math.inf, None)
    assert found.facts()["low"] is None


def test_models_that_answer_alike_on_all_rows_are_neither_better_nor_worse():
    champion, _ = documents(50, seed=5)
    found = BITS.compare(champion, champion)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.p_better, found.p_worse, found.detectable) == (1.0, 1.0, None)


@pytest.mark.parametrize("rows", [7, 60])
@pytest.mark.parametrize("name", ["generation", "translation"])
def test_exchanging_the_models_exchanges_better_and_worse(name, rows):
    random = np.random.default_rng(rows)
    split = split_of(random, FAMILIES[name], rows=rows)
    champion, challenger = FAMILIES[name].answer(random, split, np.full(rows, 0.01))
    measure = FAMILIES[name].measure
    one, other = measure.compare(champion, challenger), measure.compare(challenger, champion)
    assert (one.p_better, one.p_worse) == (other.p_worse, other.p_better)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert one.difference == -other.difference
    assert one.p_better != one.p_worse


def test_order_of_the_rows_does_not_matter():
    few, many = documents(9, seed=6, better=0.01), documents(300, seed=6, better=0.0005)
    order = np.random.default_rng(0).permutation(9)
    assert BITS.compare(few[0][order], few[1][order]).p_better == BITS.compare(*few).p_better
    order = np.random.default_rng(0).permutation(300)
    before, after = BITS.compare(*many), BITS.compare(many[0][order], many[1][order])
    assert after.difference == pytest.approx(before.difference)
    # Swaps are drawn by place, so that other ones meet the rows.
    assert after.p_better == pytest.approx(before.p_better, abs=0.05)
    assert 0.02 < before.p_better < 0.98


def test_a_seed_decides_all_that_is_random():
    rows = documents(300, seed=7)
    assert BITS.compare(*rows, seed=1) == BITS.compare(*rows, seed=1)
    assert BITS.compare(*rows, seed=1).low != BITS.compare(*rows, seed=2).low


@pytest.mark.parametrize("count", [7, 2000])
def test_two_ways_to_count_agree_that_a_subset_holds_half_of_the_rows(count):
    sums = subset_sums(np.ones((count, 2)), seed=0)
    assert (sums[0] == 0).all()
    assert sums[1:].mean() == pytest.approx(count / 2, rel=0.02)
    assert sums[1:].var() == pytest.approx(count / 4, rel=0.15)
    assert len(sums) == (1 << 7 if count == 7 else PATTERNS + 1)


def test_memory_stays_bounded_without_changing_what_is_drawn(monkeypatch):
    columns = np.random.default_rng(0).random((64, 3))
    whole = subset_sums(columns, seed=3)
    monkeypatch.setattr("llm.statistics.randomization._CELLS_AT_ONCE", 64 * 7)
    assert subset_sums(columns, seed=3) == pytest.approx(whole)


def test_the_observed_difference_counts_among_the_patterns():
    assert p_values(np.array([3.0, 1.0, 2.0, -1.0])) == (0.25, 1.0)
    assert p_values(np.array([1.0, 1.0 + 1e-13, -2.0, 4.0])) == (0.75, 0.75)


def test_an_interval_takes_as_many_values_off_each_end_as_the_level_allows():
    values = np.arange(1.0, 80.0)
    assert typical_interval(values, patterns=80) == (2.0, 78.0)
    assert typical_interval(values[:38], patterns=39) == (-math.inf, math.inf)


@pytest.mark.parametrize("count", [8, 60])
def test_level_is_held_by_documents_of_very_different_lengths(count):
    nights = 600
    found = [BITS.compare(*documents(count, seed=1000 + night), seed=night) for night in range(nights)]
    for p in ([one.p_better for one in found], [one.p_worse for one in found]):
        share = np.mean(np.array(p) <= 0.025)
        assert share <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / nights)
        # Not by never calling anything better.
        assert share >= 0.005
    covered = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.925 <= covered <= 0.985


def test_level_is_held_over_thirty_short_translations_where_the_bootstrap_does_not_hold_it():
    family, nights, level = FAMILIES["translation"], 500, 0.025
    random = np.random.default_rng(8)
    ours = bootstrap = 0
    for night in range(nights):
        champion, challenger = family.answer(random, split_of(random, family, rows=30), np.zeros(30))
        ours += family.measure.compare(champion, challenger, seed=night).p_better <= level
        counts = random.multinomial(30, np.full(30, 1 / 30), size=1000).astype(float)
        resampled = family.measure.value(counts @ challenger) - family.measure.value(counts @ champion)
        bootstrap += (1 + (resampled <= 0).sum()) / 1001 <= level
    assert ours / nights <= level + 2 * math.sqrt(level * (1 - level) / nights)
    assert bootstrap / nights > level + 2 * math.sqrt(level * (1 - level) / nights)


def test_a_difference_of_the_stated_size_is_detected_in_most_nights():
    stated = np.median([BITS.compare(*documents(150, seed=night)).detectable for night in range(100)])
    shown = [BITS.compare(*documents(150, seed=night, better=stated)).p_better <= 0.025 for night in range(200)]
    assert np.mean(shown) >= 0.8
    less = [BITS.compare(*documents(150, seed=night, better=stated / 3)).p_better <= 0.025 for night in range(200)]
    assert np.mean(less) < 0.6
