"""A champion of one's own data, and the corpora that come with Nightshift."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_registry import settle_in

from flows.configuration import load_config
from llm.errors import GateError
from llm.recipe import Recipe
from tasks.own_data import require_own_data
from tasks.registry.connection import client
from tasks.registry.runs import TrainingIdentity, training_run

SHIPPED = load_config("classification", preset="smoke").recipe


@pytest.fixture
def champion_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, object]], None]:
    settle_in(tmp_path, monkeypatch)

    def make(options: dict[str, object]) -> None:
        with training_run(TrainingIdentity("classification", "k1", options, datasets=(), tags={})) as run:
            run_id = run.open()
        client().create_registered_model("classification")
        client().create_model_version("classification", (tmp_path / "model").as_uri(), run_id=run_id)
        client().set_registered_model_alias("classification", "champion", "1")

    return make


def test_a_shipped_corpus_does_not_follow_data_of_ones_own(champion_of, toy_recipe: Recipe) -> None:
    champion_of({"corpus": toy_recipe.corpus.model_dump(mode="json")})
    with pytest.raises(GateError) as caught:
        require_own_data(SHIPPED)
    assert caught.value.problem == (
        "the champion of classification, version 1, was trained on data of yours (corpus.source local_files), and this "
        "retraining would read string_languages, which comes with Nightshift"
    )
    assert "nightshift up --config FILE" in caught.value.remedy
    require_own_data(toy_recipe)


@pytest.mark.parametrize(
    "options", [{"corpus": SHIPPED.corpus.model_dump(mode="json")}, {}], ids=["shipped", "unknown"]
)
def test_it_follows_another_shipped_one_and_one_that_nobody_knows(champion_of, options, toy_recipe: Recipe) -> None:
    champion_of(options)
    require_own_data(SHIPPED)
    require_own_data(toy_recipe)


def test_the_first_night_may_read_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle_in(tmp_path, monkeypatch)
    require_own_data(SHIPPED)
