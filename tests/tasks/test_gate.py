"""What the gate lets through: a challenger that serves, beats the baselines and is shown to be better."""

from __future__ import annotations

import numpy as np
import pytest

from llm.errors import ConfigError, GateError
from llm.statistics.measures import Accuracy, BitsPerByte, CorpusBleu
from llm.statistics.verdict import PromotionPolicy, Verdict
from llm.statistics.verdict import decide as compare
from tasks.gate import decide
from tasks.reload import ReloadResult

BLEU, BITS = CorpusBleu(), BitsPerByte()
REPEATS = ReloadResult(True, "loads in a fresh process and repeats 20 of 20 predictions")
DIFFERS = ReloadResult(False, "the logged model answers input 3 with 'b', after training it was 'a'")


def verdict(*, gained: int, lost: int, rows: int = 400) -> Verdict:
    """On rows of which the challenger gets so many right that the champion got wrong, and the other way round."""
    champion, challenger = np.ones((rows, 2)), np.ones((rows, 2))
    champion[:gained, 0] = 0
    challenger[gained : gained + lost, 0] = 0
    return compare(Accuracy(), champion, challenger, slices={}, policy=PromotionPolicy(), newer_data=False)


BETTER, ALIKE, WORSE = verdict(gained=40, lost=5), verdict(gained=10, lost=9), verdict(gained=5, lost=40)


def judge(metric, value, *, baseline=None, against=None, reload=REPEATS):
    name = metric.name
    return decide(
        metric=metric,
        challenger={name: value},
        baselines={} if baseline is None else {"simple": {name: baseline}},
        must_beat=() if baseline is None else ("simple",),
        verdict=against,
        champion=None if against is None else 7,
        reload=reload,
    )


@pytest.mark.parametrize(
    ("metric", "value", "baseline", "against", "reload", "outcome"),
    [
        (BLEU, 21.0, 20.0, BETTER, REPEATS, "promoted"),
        (BLEU, 21.0, None, None, REPEATS, "promoted"),
        (BLEU, 21.0, 20.0, ALIKE, REPEATS, "not promoted"),
        (BLEU, 21.0, 20.0, WORSE, REPEATS, "refused"),
        (BLEU, 21.0, 21.0, None, REPEATS, "refused"),  # as good as the baseline does not beat it
        (BLEU, 21.0, 22.0, BETTER, REPEATS, "refused"),
        (BLEU, 21.0, 22.0, ALIKE, REPEATS, "refused"),
        (BLEU, 21.0, 20.0, BETTER, DIFFERS, "refused"),
        (BLEU, 21.0, 20.0, ALIKE, DIFFERS, "refused"),
        (BITS, 2.0, 2.1, BETTER, REPEATS, "promoted"),
        (BITS, 2.0, 1.9, BETTER, REPEATS, "refused"),
        (BITS, 2.0, 2.0, None, REPEATS, "refused"),
    ],
)
def test_decision(metric, value, baseline, against, reload, outcome):
    decision = judge(metric, value, baseline=baseline, against=against, reload=reload)
    assert (decision.outcome, decision.promote) == (outcome, outcome == "promoted")
    assert decision.verdict is against


def test_a_refusal_names_every_failed_check_and_no_passed_one():
    decision = judge(BLEU, 21.0, baseline=20.0, against=WORSE, reload=DIFFERS)
    assert decision.reasons[0] == DIFFERS.sentence
    assert decision.reasons[1].startswith("against champion version 7: The challenger is worse: accuracy")
    assert len(decision.reasons) == 2


def test_what_is_not_shown_to_be_better_is_told_with_the_figures():
    (reason,) = judge(BLEU, 21.0, against=ALIKE).reasons
    assert reason.startswith("against champion version 7: The challenger is not shown to be better: accuracy 97.75")
    assert "p = 0.5" in reason


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
            verdict=None,
            champion=None,
            reload=REPEATS,
        )
    assert "copy_source" in caught.value.remedy


def test_a_missing_figure_is_no_verdict():
    with pytest.raises(GateError, match="the challenger has no bleu, only chrf"):
        decide(
            metric=BLEU,
            challenger={"chrf": 1.0},
            baselines={},
            must_beat=(),
            verdict=None,
            champion=None,
            reload=REPEATS,
        )
