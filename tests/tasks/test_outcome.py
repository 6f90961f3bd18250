from __future__ import annotations

import pytest
from made_version import version_of

from tasks.gate import ChampionScore
from tasks.outcome import Outcome, nothing_new

RIVAL = ChampionScore(version=1, metrics={"bleu": 22.0})


@pytest.mark.parametrize(
    ("version", "champion", "ending"),
    [
        (
            version_of("promoted", aliases=("champion",)),
            None,
            "it was promoted on 2026-05-01 at 02:41 UTC and is champion",
        ),
        (
            version_of("refused", aliases=("challenger",)),
            RIVAL,
            "it was refused on 2026-05-01 at 02:41 UTC, and version 1 is champion",
        ),
        (version_of("refused", aliases=("challenger",)), None, "it was refused on 2026-05-01 at 02:41 UTC"),
        (
            version_of("refused", aliases=("champion",)),
            None,
            "it was refused on 2026-05-01 at 02:41 UTC and made champion by hand",
        ),
        (
            version_of("", aliases=("champion",), decided=None),
            None,
            "it was not decided and made champion by hand",
        ),
    ],
)
def test_where_nothing_is_new_a_sentence_names_the_version_and_how_and_when_it_was_decided(version, champion, ending):
    outcome = nothing_new(version, champion=champion)
    sentence = f"version 2 was made from the same corpus with the same options; {ending}"
    assert outcome.told == f"nothing new: {sentence}"
    assert outcome.title == "translation: nothing new"


@pytest.mark.parametrize(
    ("outcome", "champion"),
    [
        (Outcome(version_of("promoted", aliases=("champion",)), "promoted", (), RIVAL), 2),
        (Outcome(version_of("refused"), "refused", (), RIVAL), 1),
        (Outcome(version_of("refused"), "refused", (), None), None),
    ],
)
def test_an_outcome_knows_who_is_champion_now(outcome, champion):
    assert outcome.champion == champion
    summary = outcome.summary(stages=[], metrics={"bleu": 21.5}, baselines={})
    assert (summary["champion"] or {"version": None})["version"] == champion


def test_a_decision_is_told_with_its_reasons_and_titled_with_its_version():
    outcome = Outcome(version_of("refused"), "refused", ("is worse", "is slower"), RIVAL)
    assert outcome.told == "refused: is worse; is slower"
    assert outcome.title == "translation: version 2 refused"
