"""A registered toy model that really answers, and what becomes of it in a registry that is not whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch

from llm.errors import ChecksumError, GateError
from llm.files import read_json, sha256_of
from llm.home import home as home_folder
from tasks.load_test import load_test
from tasks.registry.logged_model import ModelToLog
from tasks.registry.runs import training_run
from tasks.registry.versions import Measured, Version, register
from tasks.reload import FreshProcess


@pytest.fixture
def version(home, identity, toy_training) -> Version:
    """A toy classifier, really trained and really registered."""
    predictions = read_json(toy_training.path / "predictions.json")
    model = ModelToLog(
        folder=toy_training.path / "model",
        family="classification",
        training_key="k1",
        inputs=predictions["inputs"][:2],
        answers=predictions["answers"][:2],
        params={},
    )
    with training_run(identity("k1")) as run:
        return register(run, model, Measured({"accuracy": 1.0}, {}, "c0ffee"), step=40)


def try_out(version: Version) -> str:
    with FreshProcess(threads=1) as process:
        return load_test(version, process)


def stored(name: str) -> Path:
    """The one file of that name in the registry's artifacts."""
    return next((home_folder() / "mlflow" / "artifacts").rglob(name))


def test_a_version_that_is_whole_loads_and_answers(version):
    assert try_out(version) == (
        f"its {len(version.files)} files are those that were registered; "
        "loads in a fresh process and answers 2 of 2 inputs"
    )


def test_a_version_without_sums_says_so(version):
    assert try_out(replace(version, files={})).startswith("registered without SHA-256 sums, so its files could not be")


def flip_a_bit() -> None:
    weights = bytearray(stored("model.safetensors").read_bytes())
    weights[-1] ^= 1
    stored("model.safetensors").write_bytes(weights)


@pytest.mark.parametrize(
    ("harm", "error", "told"),
    [
        (flip_a_bit, ChecksumError, r"SHA-256 of model\.safetensors is [0-9a-f]{64}, but"),
        (lambda: stored("tokenizer.json").unlink(), ChecksumError, r"SHA-256 of tokenizer\.json is missing"),
        (lambda: shutil.rmtree(stored("MLmodel").parent), ChecksumError, r"SHA-256 of config\.json is missing"),
        (lambda: stored("pyfunc_model.py").write_text("1 / 0"), GateError, "process: mlflow.*Error: division by zero"),
        (lambda: stored("MLmodel").write_text("flavors: {}"), GateError, "does not load in a fresh process: "),
    ],
    ids=["flipped bit", "missing file", "no files", "broken code", "no model"],
)
def test_a_version_that_is_damaged_is_refused(version, harm: Callable[[], None], error, told):
    harm()
    with pytest.raises(error, match=told):
        try_out(version)


def test_a_model_whose_answers_are_not_finite_is_refused(version):
    path = stored("model.safetensors")
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file({name: values * float("nan") for name, values in weights.items()}, path)
    broken = replace(version, files=dict(version.files) | {path.name: sha256_of(path)})
    with pytest.raises(GateError, match=r"cannot be champion: .*model\.safetensors: .* holds NaN or infinity"):
        try_out(broken)


def test_the_process_ends_with_its_owner_when_there_was_nothing_to_try():
    with FreshProcess(threads=1) as process:
        child = process._process
    assert child.returncode is not None
