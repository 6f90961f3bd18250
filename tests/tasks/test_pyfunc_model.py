from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from llm.families import load_family
from llm.ingest.corpus import corpus_stage
from llm.tokenizer_training import tokenizer_stage
from llm.tokens import tokens_stage
from llm.training.stage import training_stage
from tasks.registry.logged_model import ModelToLog, save_model, signature
from tasks.reload import check_reload


@dataclass(frozen=True)
class Saved:
    folder: Path
    predictions: dict[str, Any]
    params: dict[str, Any]
    model: ModelToLog


@pytest.fixture(scope="module")
def saved(toy_recipe, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A really trained toy classifier as an MLflow model folder."""
    root = tmp_path_factory.mktemp("stages")
    family = load_family("classification")
    corpus = corpus_stage(
        toy_recipe.corpus, toy_recipe.cleaning, toy_recipe.splits, fields=family.fields, root=root, downloads=root
    )
    tokenizer = tokenizer_stage(
        corpus, toy_recipe.tokenizer, fields=family.text_fields, template=family.template, root=root
    )
    tokens = tokens_stage(corpus, tokenizer, family=family, root=root)
    training = training_stage(
        toy_recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=root, report=lambda step, values: None
    )
    predictions = json.loads((training.path / "predictions.json").read_text())
    model = ModelToLog(
        folder=training.path / "model",
        family="classification",
        training_key=training.key,
        inputs=predictions["inputs"][:2],
        answers=predictions["answers"][:2],
        params=family.params().model_dump(mode="json"),
    )
    folder = tmp_path_factory.mktemp("mlflow") / "saved"
    save_model(folder, model)
    return Saved(folder, predictions, dict(model.params), model)


@pytest.fixture(scope="module")
def loaded(saved) -> mlflow.pyfunc.PyFuncModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        return mlflow.pyfunc.load_model(str(saved.folder))


def test_a_fresh_process_with_the_logged_code_alone_repeats_the_predictions(saved):
    result = check_reload(str(saved.folder), saved.predictions, tracking_uri="sqlite://", threads=1, tolerance=1e-4)
    assert result.sentence == "loads in a fresh process and repeats 20 of 20 predictions"
    assert result.ok


def test_a_model_that_answers_otherwise_does_not_pass(saved):
    other = {**saved.predictions, "answers": [{"label": "other", "score": 1.0}] * 20}
    result = check_reload(str(saved.folder), other, tracking_uri="sqlite://", threads=1, tolerance=1e-4)
    assert not result.ok
    assert result.sentence.startswith("the logged model answers input 0 with ")


def test_a_model_that_does_not_load_does_not_pass(saved, tmp_path):
    result = check_reload(str(tmp_path), saved.predictions, tracking_uri="sqlite://", threads=1, tolerance=1e-4)
    assert not result.ok
    assert result.sentence.startswith("the logged model does not load in a fresh process: mlflow.exceptions")


# Runs with the standard library and the modules in argv[2] alone, as in a venv of the model's requirements.
ALONE = """
import importlib.metadata, json, sys

allowed = set(json.loads(sys.argv[2]))
installed = {name for name, owners in importlib.metadata.packages_distributions().items()}


class Missing:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top in installed - allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Missing())
import mlflow.pyfunc

answers = mlflow.pyfunc.load_model(sys.argv[1]).predict(json.loads(sys.argv[3]))
print(json.dumps({"answers": answers, "code": sys.modules["llm"].__file__}))
"""


def test_predicting_needs_nothing_but_the_requirements_and_what_they_require(saved, tmp_path):
    allowed = modules_of([line.split("==")[0] for line in (saved.folder / "requirements.txt").read_text().split()])
    assert "torch" in allowed
    assert not allowed & {"prefect", "sacrebleu", "datasets", "tasks"}
    allowed |= {"llm"}  # the model's own copy: see below
    arguments = [str(saved.folder), json.dumps(sorted(allowed)), json.dumps(saved.predictions["inputs"][:3])]
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answers"] == saved.predictions["answers"][:3]
    assert Path(found["code"]).is_relative_to(saved.folder)
    assert "Add type hints" not in done.stderr


def modules_of(names: list[str]) -> set[str]:
    """Top-level modules of these distributions and of all that they require, extras left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        found.add(name)
        parsed = [Requirement(text) for text in requirements]
        waiting += [one.name for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    owners = importlib.metadata.packages_distributions()
    return {module for module, names in owners.items() if found & {canonicalize_name(name) for name in names}}


def test_texts_are_taken_as_list_series_column_or_array(saved, loaded):
    texts = saved.predictions["inputs"][:3]
    expected = saved.predictions["answers"][:3]
    for data in (texts, pd.Series(texts), pd.DataFrame({"any name": texts}), pd.Series(texts).to_numpy()):
        assert loaded.predict(data) == expected


def test_inference_parameters_have_the_defaults_of_the_family_and_can_be_set(saved, loaded):
    assert loaded.metadata.signature.params.to_dict() == [
        {"name": "top_k", "default": 1, "shape": None, "type": "long"},
    ]
    assert len(loaded.predict(["apple"], params={"top_k": 2})[0]["top"]) == 2


def test_an_unknown_parameter_is_refused_by_name(loaded):
    with pytest.raises(MlflowException, match="unknown parameter 'temperatur': the parameters of this model are top_k"):
        loaded.predict(["apple"], params={"temperatur": 1.0})


def test_more_than_one_column_is_refused(loaded):
    with pytest.raises(MlflowException, match=r"2 columns \(a, b\)"):
        loaded.predict(pd.DataFrame({"a": ["apple"], "b": ["saw"]}))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([1, 2], r"input 0 is 1 \(int\)"),
        (["apple", None], r"input 1 is None \(NoneType\)"),
        ([["apple"]], r"input 0 is \['apple'\] \(list\)"),
        (["apple", " "], "text 1 is empty"),
        (["apple"] * 5000, r"5000 texts in one call, and the model takes 4096 \(serving\.max_texts\)"),
    ],
)
def test_what_the_model_does_not_take_is_refused(loaded, data, problem):
    with pytest.raises(MlflowException, match=problem):
        loaded.predict(data)


def test_a_refusal_is_one_sentence_with_status_400_and_without_the_input(loaded):
    text = "word " * 3000
    with pytest.raises(MlflowException) as caught:
        loaded.predict([text])
    assert caught.value.get_http_status_code() == 400
    caught.value.message = f"Failed to predict data '{text}'"  # as MLflow's server does
    sentence = json.loads(caught.value.serialize_as_json())["message"]
    assert sentence.startswith("text 0 ('word word ")
    assert sentence.endswith("and the model takes 64: shorten it, or split it into several")
    assert len(sentence) < 200
    assert "\n" not in sentence


def test_the_signature_describes_records_out(saved):
    found = signature(saved.model)
    assert [str(column.type) for column in found.inputs] == ["Any"]
    assert {column.name: column.type.name for column in found.outputs} == {"label": "string", "score": "double"}


def test_the_folder_holds_safetensors_json_code_and_no_pickle(saved):
    names = {path.relative_to(saved.folder).as_posix() for path in saved.folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "pyfunc_model.py", "code/llm/predictor.py", "artifacts/model/model.safetensors"} <= names
    assert "input_example.json" in names
    suffixes = {Path(name).suffix for name in names}
    assert suffixes <= {"", ".py", ".json", ".safetensors", ".txt", ".yaml", ".jsonl"}


def test_requirements_are_exact_and_installable(saved):
    lines = (saved.folder / "requirements.txt").read_text().split()
    assert all("==" in line and "+" not in line for line in lines)
    assert {"torch", "transformers", "tokenizers", "safetensors"} <= {line.split("==")[0] for line in lines}


def test_a_model_that_no_server_loads_leaves_fastapi_alone(loaded):
    import fastapi

    assert "mlflow.pyfunc.scoring_server.app" not in sys.modules
    assert fastapi.FastAPI.__module__ == "fastapi.applications"
    assert fastapi.FastAPI.__name__ == "FastAPI"
