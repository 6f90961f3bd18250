from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from made_version import version_of

import llm
import tasks
from llm.engines.config import ServingConfig
from llm.families import load_family
from llm.stages import Stage
from tasks.gate import ChampionScore, GateConfig
from tasks.news import Question, answered, code_key, question_key

GATE = GateConfig()
CORPUS = Stage(name="corpus", key="c0ffee", path=Path(), manifest={}, reused=True)


@pytest.fixture
def fresh_code_key():
    """Nothing that is kept of the code's hash comes in or goes out."""
    code_key.cache_clear()
    yield
    code_key.cache_clear()


def test_the_same_options_over_the_same_corpus_ask_the_same(toy_recipe):
    again = type(toy_recipe).model_validate_json(toy_recipe.model_dump_json())
    assert question_key(again, "c0ffee", gate=GateConfig()) == question_key(toy_recipe, "c0ffee", gate=GATE)


@pytest.mark.parametrize(
    "changes",
    [
        {"cleaning": {"minimum_characters": 3}},
        {"splits": {"salt": "other"}},
        {"tokenizer": {"vocabulary": 301}},
        {"model": {"layers": 2}},
        {"training": {"seed": 7}},
        {"evaluation": {"must_beat": ["naive_bayes"]}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_every_part_of_a_recipe_counts(toy_recipe, changes):
    other = toy_recipe.vary(**changes)
    assert question_key(other, "c0ffee", gate=GATE) != question_key(toy_recipe, "c0ffee", gate=GATE)


def test_the_start_the_engine_the_corpus_and_the_gate_count_too(toy_recipe):
    warm = toy_recipe.model_copy(update={"start": "champion"})
    rounded = toy_recipe.model_copy(update={"serving": ServingConfig(engine="torch-float16")})
    keys = {
        question_key(toy_recipe, "c0ffee", gate=GATE),
        question_key(warm, "c0ffee", gate=GATE),
        question_key(rounded, "c0ffee", gate=GATE),
        question_key(toy_recipe, "cacao", gate=GATE),
        question_key(toy_recipe, "c0ffee", gate=GateConfig(repeat_tolerance=1e-3)),
    }
    assert len(keys) == 5


def test_other_pretrained_weights_in_the_same_folder_ask_something_new(tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    pretrained = load_family("classification").presets()["pretrained"]
    recipe = pretrained.vary(model={"weights": {"kind": "folder", "path": str(tmp_path)}})
    before = question_key(recipe, "c0ffee", gate=GATE)
    assert question_key(recipe, "c0ffee", gate=GATE) == before
    (tmp_path / "model.safetensors").write_text("other")
    assert question_key(recipe, "c0ffee", gate=GATE) != before


@pytest.mark.parametrize("package", [llm, tasks], ids=lambda package: package.__name__)
def test_other_code_asks_something_new(package, tmp_path, monkeypatch, fresh_code_key):
    before = code_key()
    copy = tmp_path / package.__name__
    shutil.copytree(Path(package.__file__).parent, copy)
    monkeypatch.setattr(package, "__file__", str(copy / "__init__.py"))
    code_key.cache_clear()
    assert code_key() == before
    with (copy / "stages.py").open("a") as file:
        file.write("# another version\n")
    assert code_key() == before, "the code that runs is the code that was there when the night began"
    code_key.cache_clear()
    assert code_key() != before


def test_a_question_without_an_answer_leaves_something_to_do():
    assert (
        answered(Question("why", answer=None, champion=version_of("promoted", aliases=("champion",))), CORPUS) is None
    )


def test_an_answer_that_is_champion_has_no_other_beside_it():
    version = version_of("promoted", aliases=("champion",))
    outcome = answered(Question("why", answer=version, champion=version), CORPUS)
    assert (outcome.version, outcome.champion, outcome.champion_before) == (version, 2, None)


@pytest.mark.parametrize(("test_split", "metrics"), [("c0ffee", {"bleu": 21.5}), ("other", {})])
def test_the_figures_of_the_champion_are_told_only_of_the_same_test_split(test_split, metrics):
    rival = replace(version_of("promoted", aliases=("champion",)), version=1, test_split=test_split)
    outcome = answered(Question("why", answer=version_of("refused"), champion=rival), CORPUS)
    assert outcome.champion_before == ChampionScore(version=1, metrics=metrics)
    assert outcome.champion == 1


def test_a_refused_answer_may_stand_without_any_champion():
    outcome = answered(Question("why", answer=version_of("refused"), champion=None), CORPUS)
    assert (outcome.champion, outcome.champion_before) == (None, None)
