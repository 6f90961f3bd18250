"""What a decision leaves behind: the alias and its line in the ledger, and the comparison in the MLflow run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from compared import FAMILY, RIGHT, compared
from prefect.logging import disable_run_logger

from tasks.gate import ChampionScore, Decision, Outcome
from tasks.promotion import settle, write_comparison
from tasks.registry.aliases import read_aliases
from tasks.registry.connection import client
from tasks.registry.runs import training_run
from tasks.registry.versions import Measured, register

WORSE = [right.replace("bitte jetzt", "sofort") for right in RIGHT]
SCORE = ChampionScore(version=1, metrics={"bleu": 21.0})
MEASURED = Measured(metrics={"bleu": 21.5}, baselines={}, test_split="c0ffee")


@pytest.fixture
def two_versions(home, identity, model, card):
    """Version 1 became champion, version 2 is to be decided on."""

    def enter(key):
        with training_run(identity(key)) as run:
            return register(run, model(key), MEASURED, step=1)

    first = enter("k1")
    with disable_run_logger(), training_run(identity("k1")) as run:
        decision = Decision(outcome="promoted", reasons=("the first",), checks=())
        first = settle.fn(first, None, decision, run, over=None, card=card, level=0.025)
    return first, enter("k2")


def decide(outcome: Outcome, found) -> Decision:
    return Decision(outcome=outcome, reasons=found.verdict.reasons, checks=(), verdict=found.verdict)


def test_the_ledger_holds_the_p_value_of_the_comparison_and_the_level_it_was_held_against(
    two_versions, identity, card, tmp_path
):
    champion, challenger = two_versions
    found = compared(tmp_path, WORSE, RIGHT)
    with disable_run_logger(), training_run(identity("k2")) as run:
        settled = settle.fn(challenger, SCORE, decide("promoted", found), run, over=champion, card=card, level=0.04)
    assert settled.is_champion
    first, second = read_aliases(client(), "translation").ledger.entries
    assert (first.p_value, first.level) == (None, None)
    assert (second.before, second.after, second.level) == (1, 2, 0.04)
    assert second.p_value == found.verdict.overall.p_better < 0.04
    assert second.why == found.verdict.reasons
    shown = client().get_model_version("translation", "2").description
    assert shown.startswith("# translation, version 2: promoted\n\n- The challenger is better: bleu")


def test_a_refused_challenger_moves_nothing_and_carries_its_reasons(two_versions, identity, card, tmp_path):
    champion, challenger = two_versions
    found = compared(tmp_path, RIGHT, WORSE)
    with disable_run_logger(), training_run(identity("k2")) as run:
        settled = settle.fn(challenger, SCORE, decide("refused", found), run, over=champion, card=card, level=0.025)
    assert (settled.decision, settled.reasons) == ("refused", found.verdict.reasons)
    aliases = read_aliases(client(), "translation")
    assert aliases.versions == {"champion": 1, "challenger": 2}
    assert len(aliases.ledger.entries) == 1


def test_the_comparison_is_kept_as_figures_and_as_a_page(two_versions, identity, toy_recipe, tmp_path):
    found = compared(tmp_path, RIGHT, WORSE)
    recipe = toy_recipe.model_copy(update={"family": FAMILY.name})
    score = ChampionScore(version=1, metrics={}, evaluation=found.champion)
    with disable_run_logger(), training_run(identity("k2")) as run:
        run.open()
        for champion in (None, replace(score, evaluation=None), score):
            write_comparison.fn(
                recipe,
                run,
                decide("refused", found),
                corpus=found.corpus,
                champion=champion,
                challenger=(2, found.challenger),
            )
            kept = {one.path for one in client().list_artifacts(run.run_id)} & {"comparison.html", "verdict.json"}
            assert kept == ({"comparison.html", "verdict.json"} if champion is score else set())
        files = {name: client().download_artifacts(run.run_id, name, str(tmp_path)) for name in kept}
    with open(files["verdict.json"]) as file:
        assert json.load(file)["outcome"] == "refuse"
    with open(files["comparison.html"]) as file:
        assert "version 2 against champion version 1: refused" in file.read()
