from __future__ import annotations

import pytest

from llm.errors import ConfigError, GateError
from llm.families.base import Metric
from tasks.gate import ChampionScore, decide
from tasks.reload import ReloadResult

BLEU = Metric("bleu", higher_is_better=True)
BITS = Metric("bits_per_byte", higher_is_better=False)
REPEATS = ReloadResult(True, "loads in a fresh process and repeats 20 of 20 predictions")
DIFFERS = ReloadResult(False, "the logged model answers input 3 with 'b', after training it was 'a'")


def judge(metric, value, *, baseline=None, champion=None, reload=REPEATS):
    name = metric.name
    return decide(
        metric=metric,
        challenger={name: value},
        baselines={} if baseline is None else {"simple": {name: baseline}},
        must_beat=() if baseline is None else ("simple",),
        champion=None if champion is None else ChampionScore(version=7, metrics={name: champion}),
        reload=reload,
    )


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "champion", "reload", "promote"),
    [
        (BLEU, 21.0, 20.0, 19.0, REPEATS, True),
        (BLEU, 21.0, None, None, REPEATS, True),
        (BLEU, 21.0, 20.0, 21.0, REPEATS, True),  # as good as the champion is not worse
        (BLEU, 21.0, 21.0, None, REPEATS, False),  # as good as the baseline does not beat it
        (BLEU, 21.0, 22.0, None, REPEATS, False),
        (BLEU, 21.0, 20.0, 21.5, REPEATS, False),
        (BLEU, 21.0, 20.0, 19.0, DIFFERS, False),
        (BITS, 2.0, 2.1, 2.2, REPEATS, True),
        (BITS, 2.0, 2.1, 1.9, REPEATS, False),
        (BITS, 2.0, 1.9, 2.2, REPEATS, False),
        (BITS, 2.0, 2.0, None, REPEATS, False),
    ],
)
def test_decision(metric, value, baseline, champion, reload, promote):
    assert judge(metric, value, baseline=baseline, champion=champion, reload=reload).promote is promote


def test_a_refusal_names_every_failed_check_with_both_figures_and_no_passed_one():
    decision = judge(BLEU, 21.0, baseline=20.0, champion=21.5, reload=DIFFERS)
    assert decision.reasons == (
        DIFFERS.sentence,
        "is worse than champion version 7: bleu 21 against 21.5 (higher is better)",
    )


def test_a_promotion_names_every_check():
    assert judge(BITS, 2.0, baseline=2.1).reasons == (
        REPEATS.sentence,
        "beats the baseline simple: bits_per_byte 2 against 2.1 (lower is better)",
        "there is no champion yet: bits_per_byte 2 is the first",
    )


def test_a_baseline_that_was_not_scored_is_named_with_those_that_were():
    with pytest.raises(ConfigError, match="names the baseline 'naive'") as caught:
        decide(
            metric=BLEU,
            challenger={"bleu": 1.0},
            baselines={"copy_source": {"bleu": 0.5}},
            must_beat=("naive",),
            champion=None,
            reload=REPEATS,
        )
    assert "copy_source" in caught.value.remedy


def test_a_missing_figure_is_no_verdict():
    with pytest.raises(GateError, match="champion version 7 has no bleu, only chrf"):
        decide(
            metric=BLEU,
            challenger={"bleu": 1.0},
            baselines={},
            must_beat=(),
            champion=ChampionScore(version=7, metrics={"chrf": 1.0}),
            reload=REPEATS,
        )
