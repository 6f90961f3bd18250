"""Which outcome follows from which figures, and what a person reads about it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llm.config import parse_config
from llm.errors import ConfigError
from llm.statistics.measures import Accuracy, BitsPerByte
from llm.statistics.verdict import PromotionPolicy, RefreshPolicy, decide

STANDARD = PromotionPolicy()


def answers(right):
    return np.stack([np.asarray(right, dtype=float), np.ones(len(right))], axis=1)


def night(*, wins=0, losses=0, rows=400, measure=None, policy=STANDARD, newer_data=False):
    """The champion gets half of the rows right; wins stand in the first quarter, losses in the last."""
    champion = np.arange(rows) >= rows // 2
    challenger = champion.copy()
    challenger[:wins] = True
    challenger[rows - losses :] = False
    quarter = np.arange(rows) * 4 // rows
    slices = {f"quarter {number + 1}": quarter == number for number in range(4)}
    return decide(
        measure or Accuracy(),
        answers(champion),
        answers(challenger),
        slices=slices,
        policy=policy,
        newer_data=newer_data,
    )


def test_a_challenger_shown_to_be_better_is_promoted_with_its_figures():
    verdict = night(wins=8)
    assert verdict.outcome == "promote"
    sentence = verdict.reasons[0]
    for part in ("is better", "accuracy 52 against 50", "+2 points", "p = 0.00391", "0.025", "400 rows", "McNemar"):
        assert part in sentence
    assert f"{verdict.overall.low:+.3g} to {verdict.overall.high:+.3g}" in sentence
    assert "None of 4 slices" in verdict.reasons[1]


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (0, 1), (4, 4)])
def test_a_challenger_not_shown_to_be_better_is_kept_out_without_blame(wins, losses):
    verdict = night(wins=wins, losses=losses)
    assert verdict.outcome == "keep"
    assert "is not shown to be better" in verdict.reasons[0]
    assert f"a true gain of {verdict.overall.detectable:.3g} points" in verdict.reasons[0]


def test_models_that_answer_alike_are_told_to_be_alike():
    verdict = night()
    assert verdict.outcome == "keep"
    assert "both models are alike" in verdict.reasons[0]


def test_a_challenger_shown_to_be_worse_is_refused():
    verdict = night(losses=6)
    assert verdict.outcome == "refuse"
    assert "is worse" in verdict.reasons[0]
    assert verdict.overall.p_worse == pytest.approx(1 / 64)


def test_a_slice_that_lost_refuses_what_is_better_overall():
    verdict = night(wins=60, losses=12)
    assert verdict.overall.p_better < 1e-6
    assert verdict.outcome == "refuse"
    assert "quarter 4" in verdict.reasons[0]
    assert "corrected for 4 slices" in verdict.reasons[0]
    assert verdict.slices[0].name == "quarter 4"
    assert [one.adjusted_p_worse for one in verdict.slices] == sorted(one.adjusted_p_worse for one in verdict.slices)


def test_a_direction_where_lower_is_better_is_not_turned_round():
    random = np.random.default_rng(1)
    size = np.full(60, 1000.0)
    nats = 1400 + random.normal(0, 5, 60)
    champion, challenger = np.stack([nats, size], axis=1), np.stack([nats - 10, size], axis=1)
    better = decide(BitsPerByte(), champion, challenger, slices={}, policy=PromotionPolicy(), newer_data=False)
    assert better.outcome == "promote"
    assert "lower is better" in better.reasons[0]
    worse = decide(BitsPerByte(), challenger, champion, slices={}, policy=PromotionPolicy(), newer_data=False)
    assert worse.outcome == "refuse"


def test_a_margin_in_bits_is_held_against_the_upper_end_of_the_interval():
    random = np.random.default_rng(2)
    size, nats = np.full(60, 1000.0), 1400 + random.normal(0, 5, (2, 60))
    champion, challenger = (np.stack([each, size], axis=1) for each in nats)
    found = BitsPerByte().compare(champion, challenger)
    assert found.low < 0 < found.high
    for margin, outcome in ((found.high * 1.1, "promote"), (found.high * 0.9, "keep")):
        policy = PromotionPolicy(refresh=RefreshPolicy(margin=margin))
        verdict = decide(BitsPerByte(), champion, challenger, slices={}, policy=policy, newer_data=True)
        assert verdict.outcome == outcome


def test_five_documents_are_told_to_be_too_few():
    rows = np.stack([np.full(5, 100.0), np.full(5, 50.0)], axis=1)
    verdict = decide(BitsPerByte(), rows, rows - [10.0, 0.0], slices={}, policy=PromotionPolicy(), newer_data=False)
    assert verdict.outcome == "keep"
    assert "hold out more" in verdict.reasons[0]


class TestRefresh:
    """A challenger on newer data that is shown not to be much worse."""

    policy = PromotionPolicy(refresh=RefreshPolicy(margin=2.0))

    def test_equal_on_newer_data_is_promoted_only_where_the_policy_says_so(self):
        assert night(newer_data=True).outcome == "keep"
        verdict = night(newer_data=True, policy=self.policy)
        assert verdict.outcome == "promote"
        assert "newer data and is not worse by 2 points or more" in verdict.reasons[0]

    def test_the_same_data_does_not_refresh(self):
        assert night(policy=self.policy).outcome == "keep"

    def test_an_interval_that_reaches_the_margin_does_not_refresh(self):
        verdict = night(losses=5, newer_data=True, policy=self.policy)
        assert verdict.overall.difference > -2.0 > verdict.overall.low
        assert verdict.outcome == "keep"

    def test_what_is_shown_to_be_worse_is_refused_even_within_the_margin(self):
        wide = PromotionPolicy(refresh=RefreshPolicy(margin=50.0))
        assert night(losses=6, newer_data=True, policy=wide).outcome == "refuse"

    def test_a_slice_still_blocks(self):
        wide = PromotionPolicy(refresh=RefreshPolicy(margin=50.0))
        assert night(wins=12, losses=12, newer_data=True, policy=wide).outcome == "refuse"


def test_levels_are_taken_from_the_policy():
    assert night(wins=5, policy=PromotionPolicy(level=0.05)).outcome == "promote"
    assert night(wins=8, policy=PromotionPolicy(level=0.002)).outcome == "keep"
    strict = PromotionPolicy(slice_level=0.001)
    assert night(wins=60, losses=11, policy=strict).outcome == "promote"


def test_slices_that_are_too_small_are_named():
    verdict = night(rows=40, wins=8)
    assert verdict.slices == ()
    assert "too few rows to be judged: quarter 1, quarter 2" in verdict.reasons[-1]


def test_all_of_it_can_be_written_as_json():
    rows = np.stack([np.full(5, 100.0), np.full(5, 50.0)], axis=1)
    verdict = decide(BitsPerByte(), rows, rows, slices={}, policy=PromotionPolicy(), newer_data=False)
    facts = json.loads(json.dumps(verdict.facts(), allow_nan=False))
    assert facts["overall"]["low"] is None
    facts = json.loads(json.dumps(night(losses=9).facts(), allow_nan=False))
    assert (facts["outcome"], facts["slices"][0]["name"]) == ("refuse", "quarter 4")


@pytest.mark.parametrize(
    "options", [{"level": 1e-4}, {"level": 0.2}, {"slice_level": 0.5}, {"slice_level": 0.0}, {"refresh": {"margin": 0}}]
)
def test_a_policy_out_of_bounds_is_refused(options):
    with pytest.raises(ConfigError):
        parse_config(PromotionPolicy, options, where="gate")


def test_a_policy_reads_no_clock_and_is_the_same_twice():
    assert night(wins=8) == night(wins=8)
