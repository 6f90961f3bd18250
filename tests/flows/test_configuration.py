from __future__ import annotations

import pytest

from flows.configuration import NightlyConfig, RetrainConfig, load_config, merge
from llm.errors import ConfigError
from llm.families import FAMILIES, load_family
from llm.recipe import Recipe


@pytest.mark.parametrize("family", FAMILIES)
def test_a_preset_becomes_the_configuration_of_its_flow(family):
    config = load_config(family, preset="quick")
    assert config.recipe == load_family(family).presets()["quick"]
    assert type(config.recipe) is Recipe
    assert config.gate.repeat_tolerance == 1e-4


def test_a_file_lies_over_the_preset_and_options_over_both(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("training:\n  steps: 700\n  warmup: 7\n")
    config = load_config("translation", preset="quick", file=file, overrides={"training.steps": 800})
    assert (config.training.steps, config.training.warmup) == (800, 7)
    assert config.model == load_family("translation").presets()["quick"].model


def test_a_night_without_news_ends_unless_told_otherwise_and_this_is_no_part_of_the_recipe():
    ends, goes_on = (
        load_config("translation", preset="quick", overrides=overrides)
        for overrides in ({}, {"when_nothing_new": "continue"})
    )
    assert (ends.when_nothing_new, goes_on.when_nothing_new) == ("end", "continue")
    assert ends.recipe == goes_on.recipe
    assert "when_nothing_new" not in goes_on.recipe.model_dump()


def test_an_empty_file_changes_nothing(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("# nothing yet\n")
    assert load_config("translation", preset="quick", file=file) == load_config("translation", preset="quick")


def test_another_corpus_source_replaces_the_preset_s_as_a_whole(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("corpus:\n  source: local_files\n  format: txt\n  paths: [a.txt]\n")
    assert load_config("generation", preset="quick", file=file).corpus.paths == ("a.txt",)


def test_other_pretrained_weights_replace_the_preset_s_as_a_whole():
    overrides = {"model.weights": {"kind": "hub", "name": "google-bert/bert-base-uncased"}, "training.steps": 900}
    config = load_config("classification", preset="pretrained", overrides=overrides)
    assert config.model.weights.name == "google-bert/bert-base-uncased"
    assert config.tokenizer is None


def test_a_model_that_the_family_cannot_build_is_refused():
    values = load_config("translation", preset="quick").model_dump()
    other = load_config("classification", preset="pretrained").model_dump()
    for part in ("tokenizer", "model", "training"):
        values[part] = other[part]
    with pytest.raises(ValueError, match="pretrained_encoder is not for translation, which has encoder_decoder"):
        RetrainConfig.model_validate(values)


def test_a_configuration_survives_json(tmp_path):
    # The Prefect form and a deployment's parameters hand it over as JSON with every option in it.
    file = tmp_path / "mine.yaml"
    file.write_text("corpus:\n  source: local_files\n  format: jsonl\n  paths: [a]\n  columns: {text: t, label: l}\n")
    config = load_config("classification", preset="quick", file=file)
    assert RetrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("overrides", "problem", "remedy"),
    [
        ({"training.step": 5}, "there is no option 'training.step'", "did you mean 'steps'?"),
        ({"trainig.steps": 5}, "there is no option 'trainig'", "did you mean 'training'?"),
        ({"training.learning_rate": -1}, "training.learning_rate = -1: Input should be greater than 0", "correct"),
        ({"training.steps": "many"}, "options training.steps=many: training.steps = 'many'", "correct training.steps"),
        ({"training": 5}, "training = 5", "correct training"),
        ({"training..steps": 5}, "'training..steps' has an empty part", "training.steps=100"),
        (
            {"evaluation.must_beat": ["nobody"]},
            "must_beat names nobody; the baselines of translation are",
            "fit together",
        ),
        ({"training.warmup": 10**6}, "training: warmup (1000000) must be smaller than steps", "fit together"),
        ({"gate.repeat_tolerance": 1}, "gate.repeat_tolerance = 1", "correct gate.repeat_tolerance"),
        ({"when_nothing_new": "train"}, "Input should be 'end' or 'continue'", "correct when_nothing_new"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_a_remedy(overrides, problem, remedy):
    with pytest.raises(ConfigError) as caught:
        load_config("translation", preset="quick", overrides=overrides)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("training:\n  step: 5\n", "mine.yaml: there is no option 'training.step'"),
        ("training: [", "mine.yaml: is not YAML: while parsing"),
        ("- a\n- b\n", "mine.yaml: holds no options by name but list"),
        ("family: generation\n", "mine.yaml: family = 'generation', but 'translation' was asked for"),
        (None, "mine.yaml: cannot be read"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, text, problem):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config("translation", preset="quick", file=file)
    assert problem in caught.value.problem


def test_an_unknown_family_or_preset_is_answered_with_those_there_are():
    with pytest.raises(ConfigError) as caught:
        load_config("poetry", preset="quick")
    assert "translation" in caught.value.remedy
    with pytest.raises(ConfigError, match="translation has no preset 'quikc'") as caught:
        load_config("translation", preset="quikc")
    assert "quick" in caught.value.remedy


def test_merging_leaves_both_sides_alone():
    base, over = {"a": {"b": [1]}, "c": 1}, {"a": {"d": [2]}}
    merged = merge(base, over)
    merged["a"]["b"].append(3)
    merged["a"]["d"].append(3)
    assert (base, over) == ({"a": {"b": [1]}, "c": 1}, {"a": {"d": [2]}})


def test_a_night_retrains_no_family_twice():
    config = load_config("translation", preset="quick")
    with pytest.raises(ValueError, match="translation is there twice"):
        NightlyConfig(families=[config, config])
