"""A recipe that serves with CTranslate2: the logged model carries the converted files and repeats itself with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.config import parse_config
from llm.errors import ConfigError, RegistryError
from llm.families import load_family
from llm.ingest.corpus import corpus_stage
from llm.predictor import Predictor
from llm.recipe import Recipe
from llm.stages import Stage
from llm.tokenizer_training import tokenizer_stage
from llm.tokens import tokens_stage
from llm.training.stage import training_spec, training_stage
from tasks.registry.logged_model import ModelToLog, save_model
from tasks.reload import check_reload

ENGINE = "ctranslate2-int8"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    data = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rows = [{"source": f"word {number} of many", "target": f"WORD {number}"} for number in range(120)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = load_family("translation").presets()["smoke"].model_dump(mode="json")
    columns = {"source": "source", "target": "target"}
    values["corpus"] = {"source": "local_files", "format": "jsonl", "paths": [str(data)], "columns": columns}
    values["splits"] = {"validation": 0.2, "test": 0.2}
    values["training"] |= {"threads": 1, "device": "cpu", "context": 32}
    values["serving"] = {"engine": ENGINE}
    return Recipe.model_validate(values)


@pytest.fixture(scope="module")
def stages(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Stage]:
    root = tmp_path_factory.mktemp("stages")
    family = load_family("translation")
    corpus = corpus_stage(
        recipe.corpus, recipe.cleaning, recipe.splits, fields=family.fields, root=root, downloads=root
    )
    tokenizer = tokenizer_stage(
        corpus, recipe.tokenizer, fields=family.text_fields, template=family.template, root=root
    )
    tokens = tokens_stage(corpus, tokenizer, family=family, root=root)
    training = training_stage(
        recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=root, report=lambda step, values: None
    )
    return {"corpus": corpus, "tokenizer": tokenizer, "tokens": tokens, "training": training}


def model_to_log(recipe: Recipe, training: Stage) -> ModelToLog:
    predictions = json.loads((training.path / "predictions.json").read_text())
    return ModelToLog(
        folder=training.path / "model",
        family="translation",
        training_key=training.key,
        inputs=predictions["inputs"][:2],
        answers=predictions["answers"][:2],
        params=load_family("translation").params().model_dump(mode="json"),
        serving=recipe.serving,
    )


def test_the_training_stage_lists_the_converted_files_and_predicts_with_them(stages: dict[str, Stage]) -> None:
    training = stages["training"]
    assert "model/ctranslate2/int8/model.bin" in training.manifest["files"]
    assert type(Predictor.load(training.path / "model").engine).__name__ == "CTranslate2Engine"
    assert type(Predictor.load(training.path / "model", engine="torch").engine).__name__ == "TorchEngine"
    predictions = json.loads((training.path / "predictions.json").read_text())
    assert Predictor.load(training.path / "model").predict(predictions["inputs"]) == predictions["answers"]


def test_another_engine_is_another_training(recipe: Recipe, stages: dict[str, Stage]) -> None:
    torch_recipe = recipe.vary(serving={"engine": "torch"})
    inputs = {"tokens": stages["tokens"], "tokenizer": stages["tokenizer"]}
    assert training_spec(recipe, **inputs).key == stages["training"].key
    assert training_spec(torch_recipe, **inputs).key != stages["training"].key


def test_a_fresh_process_repeats_the_predictions_with_the_engine_of_the_recipe(
    recipe: Recipe, stages: dict[str, Stage], tmp_path: Path
) -> None:
    training = stages["training"]
    save_model(tmp_path / "saved", model_to_log(recipe, training))
    requirements = (tmp_path / "saved" / "requirements.txt").read_text().split()
    assert "ctranslate2" in {line.split("==")[0] for line in requirements}
    assert (tmp_path / "saved" / "artifacts" / "model" / "ctranslate2" / "int8" / "model.bin").is_file()
    predictions = json.loads((training.path / "predictions.json").read_text())
    result = check_reload(str(tmp_path / "saved"), predictions, tracking_uri="sqlite://", threads=1, tolerance=1e-4)
    assert result.ok, result.sentence


def test_a_bin_file_that_ctranslate2_did_not_write_is_refused(
    recipe: Recipe, stages: dict[str, Stage], tmp_path: Path
) -> None:
    model = model_to_log(recipe, stages["training"])
    stranger = model.folder / "pytorch_model.bin"
    stranger.write_bytes(b"\x80\x02}q\x00.")
    try:
        with pytest.raises(RegistryError, match=r"holds pytorch_model\.bin, which may be pickles"):
            save_model(tmp_path / "saved", model)
    finally:
        stranger.unlink()


def test_a_classification_recipe_refuses_an_engine_that_only_writes_text(toy_recipe: Recipe) -> None:
    values = toy_recipe.model_dump(mode="json") | {"serving": {"engine": ENGINE}}
    with pytest.raises(ConfigError, match=r"serving\.engine \(ctranslate2-int8\) only writes text"):
        parse_config(Recipe, values, where="recipe.yaml")


def test_an_engine_that_does_not_exist_is_refused_with_the_choices(recipe: Recipe) -> None:
    values = recipe.model_dump(mode="json") | {"serving": {"engine": "onnx"}}
    with pytest.raises(ConfigError, match=r"'torch', 'torch-float16', .* or 'ctranslate2-int8'"):
        parse_config(Recipe, values, where="recipe.yaml")
