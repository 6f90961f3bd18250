"""Going on from a champion: when it is done, with which tokenizer, and what it makes of the training's identity."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from llm.errors import ModelFolderError, StageError
from llm.families import load_family
from llm.ingest.corpus import corpus_stage
from llm.model.folder import load_model, read_description
from llm.recipe import Recipe
from llm.stages import Stage
from llm.tokenizer_training import kept_tokenizer_stage, tokenizer_stage
from llm.tokens import tokens_stage
from llm.training.stage import MODEL_FOLDER, training_spec, training_stage
from llm.training.start import Start, choose_start


@dataclass(frozen=True)
class Night:
    """One retraining, its stages and where it began."""

    corpus: Stage
    tokenizer: Stage
    tokens: Stage
    training: Stage
    start: Start | None

    @property
    def folder(self) -> Path:
        return self.training.path / MODEL_FOLDER


def night(
    recipe: Recipe, champion: Path | None, root: Path, *, report: Callable[[int, Any], None] = lambda step, found: None
) -> Night:
    family = load_family(recipe.family)
    corpus = corpus_stage(
        recipe.corpus, recipe.cleaning, recipe.splits, fields=family.fields, root=root, downloads=root
    )
    start = choose_start(recipe, corpus, champion)
    assert recipe.tokenizer is not None
    if start is None:
        tokenizer = tokenizer_stage(
            corpus, recipe.tokenizer, fields=family.text_fields, template=family.template, root=root
        )
    else:
        tokenizer = kept_tokenizer_stage(start.folder, start.tokenizer, root=root)
    tokens = tokens_stage(corpus, tokenizer, family=family, root=root)
    training = training_stage(
        recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, start=start, root=root, report=report
    )
    return Night(corpus, tokenizer, tokens, training, start)


@pytest.fixture(scope="module")
def warm(toy_recipe: Recipe) -> Recipe:
    values = toy_recipe.model_dump(mode="json") | {"start": "champion"}
    values["training"] |= {"precision": "float32"}
    return Recipe.model_validate(values)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def first(warm: Recipe, root: Path) -> Night:
    return night(warm, None, root)


@pytest.fixture(scope="module")
def grown(warm: Recipe, toy_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The recipe over a corpus that has grown since: new texts, and words that were never seen."""
    path = tmp_path_factory.mktemp("grown") / "rows.jsonl"
    more = [{"text": f"quince medlar {number}", "label": "fruit"} for number in range(40)]
    path.write_text(toy_rows.read_text() + "".join(json.dumps(row) + "\n" for row in more))
    return warm.vary(corpus={"paths": [str(path)]})


@pytest.fixture(scope="module")
def second(first: Night, grown: Recipe, root: Path) -> Night:
    return night(grown, first.folder, root)


def test_without_a_champion_training_is_the_fresh_one(first: Night, warm: Recipe) -> None:
    assert first.start is None
    spec = training_spec(warm, tokens=first.tokens, tokenizer=first.tokenizer)
    assert spec.key == first.training.key
    assert "start" not in spec.input_keys


def test_a_grown_corpus_goes_on_from_the_champion_with_its_tokenizer(first: Night, second: Night) -> None:
    assert second.corpus.key != first.corpus.key
    assert second.tokenizer.path == first.tokenizer.path
    assert second.training.manifest["inputs"]["start"] == second.start.key
    assert read_description(second.folder)["start"] == second.start.key


def test_the_first_validation_of_a_warm_start_is_better_than_that_of_a_fresh_one(
    first: Night, grown: Recipe, tmp_path: Path
) -> None:
    curves: dict[bool, list[float]] = {True: [], False: []}
    for warmly, curve in curves.items():
        recipe = grown.vary(training={"steps": 2, "warmup": 0, "validate_every": 1, "learning_rate": 1e-6})

        def report(step: int, found: Any, curve: list[float] = curve) -> None:
            curve.extend([found["validation_loss"]] if "validation_loss" in found else [])

        night(recipe, first.folder if warmly else None, tmp_path, report=report)
    assert curves[True][0] < 0.5 * curves[False][0]


def test_no_step_is_no_change(first: Night, second: Night) -> None:
    assert second.start is not None
    model = load_model(second.folder)
    second.start.fill(model)
    for name, value in load_model(first.folder).state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_champion_that_learned_just_this_is_not_its_own_successor(
    first: Night, second: Night, warm: Recipe, grown: Recipe, root: Path
) -> None:
    for before, recipe in ((first, warm), (second, grown)):
        again = night(recipe, before.folder, root)
        assert again.start is not None
        assert again.training.reused
        assert again.training.key == before.training.key


def test_other_options_of_training_go_on_from_the_same_corpus(first: Night, warm: Recipe, root: Path) -> None:
    longer = night(warm.vary(training={"steps": 41}), first.folder, root)
    assert longer.training.manifest["inputs"]["start"] == longer.start.key


class KilledError(Exception):
    """Stands for a kill: training stops wherever it is."""


def test_a_killed_warm_training_ends_in_the_weights_of_an_unbroken_one(
    first: Night, second: Night, grown: Recipe, tmp_path: Path
) -> None:
    def kill(step: int, found: Any) -> None:
        if step >= 25:
            raise KilledError

    with pytest.raises(KilledError):
        night(grown, first.folder, tmp_path, report=kill)
    resumed = night(grown, first.folder, tmp_path)
    for name, value in load_model(second.folder).state_dict().items():
        assert torch.equal(load_model(resumed.folder).state_dict()[name], value), name


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"width": 32}}, "other options of model"),
        ({"tokenizer": {"vocabulary": 280}}, "other options of tokenizer"),
        # Texts that the champion learned would be in today's test split.
        ({"splits": {"salt": "another"}}, "other options of splits"),
    ],
)
def test_a_champion_that_does_not_fit_is_left_out_with_the_reason(
    first: Night, warm: Recipe, change: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert choose_start(warm.vary(**change), first.corpus, first.folder) is None
    assert f"training starts fresh: the champion has {reason}" in caplog.text


def test_another_dropout_is_no_obstacle(first: Night, warm: Recipe) -> None:
    assert choose_start(warm.vary(model={"dropout": 0.2}), first.corpus, first.folder) is not None


def test_a_champion_of_other_labels_is_left_out(
    first: Night, warm: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": f"word {number}", "label": "ab"[number % 2]} for number in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = warm.vary(corpus={"paths": [str(path)]})
    with caplog.at_level(logging.INFO):
        assert night(recipe, first.folder, tmp_path).start is None
    assert "the champion knows other labels" in caplog.text


def test_a_recipe_that_starts_fresh_looks_at_no_champion(first: Night, warm: Recipe) -> None:
    fresh = Recipe.model_validate(warm.model_dump() | {"start": "fresh"})
    assert choose_start(fresh, first.corpus, first.folder) is None


def test_a_champion_without_weights_is_named(first: Night, warm: Recipe, tmp_path: Path) -> None:
    shutil.copytree(first.folder, tmp_path / "champion")
    (tmp_path / "champion" / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match=r"model\.safetensors: no such file"):
        choose_start(warm, first.corpus, tmp_path / "champion")


def test_a_lost_training_whose_start_is_lost_too_is_told(second: Night, grown: Recipe, tmp_path: Path) -> None:
    # The stages are gone, and the registry's champion is what that training made, not what it went on from.
    for stage in (second.corpus, second.tokenizer, second.tokens):
        shutil.copytree(stage.path, tmp_path / stage.name / stage.key)
    with pytest.raises(StageError, match="went on from the weights") as caught:
        night(grown, second.folder, tmp_path)
    assert "start to fresh" in caught.value.remedy
