"""`nightshift evaluate`: a registered version scored on its own corpus and on another, kept as linked MLflow runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_registry import register_folder, settle_in
from typer.testing import CliRunner, Result

from deployments.cli import app
from tasks.registry.connection import client
from tasks.registry.evaluations import EVALUATED
from tasks.registry.versions import Version, promote

runner = CliRunner()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def version(home: Path, toy_training) -> Iterator[Version]:
    with pytest.MonkeyPatch.context() as patch:
        settle_in(home, patch)
        found = register_folder(toy_training.path / "model", "classification", "k1", metrics={"accuracy": 99.5})
        yield promote(found, over=None, reasons=("the first",), description="")


@pytest.fixture(autouse=True)
def at_home(version, home, nightshift_home, monkeypatch, own_environment):
    settle_in(home, monkeypatch)


def evaluate(*arguments: object) -> Result:
    return runner.invoke(app, ["evaluate", "classification", *map(str, arguments)])


def test_a_champion_is_scored_on_a_file_and_the_run_is_linked_to_its_version(version, tmp_path):
    rows = [{"text": "apple pear", "label": "fruit"}, {"text": "saw hammer", "label": "tool"}] * 20
    rows += [{"text": "plum grape", "label": "tool"}] * 10
    (tmp_path / "new.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = evaluate("--corpus", tmp_path / "new.jsonl")
    assert done.exit_code == 0, done.output
    title, before, run = done.stdout.splitlines()
    assert title.startswith("classification version 1 on 50 rows of local_files: accuracy 80, ")
    assert before == "- when it was registered: accuracy 99.5"
    found = client().get_run(run.split()[-1])
    assert (found.info.status, found.data.tags[EVALUATED]) == ("FINISHED", "1")
    assert found.data.metrics["evaluation/accuracy"] == 80.0
    assert found.inputs.dataset_inputs[0].dataset.profile == "rows: 50"
    model_id = client().get_model_version("classification", "1").source.rpartition("/")[2]
    assert [model.model_id for model in found.inputs.model_inputs] == [model_id]
    logged = {metric.key: metric.value for metric in client().get_logged_model(model_id).metrics}
    assert logged["evaluation/accuracy"] == 80.0
    # The training's own run is found by its key alone, and stays the one.
    assert client().get_model_version("classification", "1").run_id == version.run_id


def test_without_a_corpus_its_own_test_split_is_scored(version):
    done = evaluate("--version", "1")
    assert done.exit_code == 0, done.output
    assert " rows of local_files: accuracy " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--version", "9"], "classification has no version '9'"),
        (["--corpus", "none.csv"], "none.csv: no such file"),
        (["--set", "corpus.format=csv"], "--set corpus.format: is an option of a corpus"),
        (["--corpus", "{tmp}/odd.csv"], "no column has a usual name"),
    ],
)
def test_a_mistake_is_two_lines(version, tmp_path, arguments, problem):
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    done = evaluate(*[text.format(tmp=tmp_path) for text in arguments])
    assert done.exit_code == 2, done.output
    assert problem in done.stderr
    assert done.stderr.splitlines()[-1].startswith("remedy: ")
