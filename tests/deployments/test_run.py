"""The commands from outside, on a toy corpus: train, reuse, ask, list; an interruption leaves nothing behind."""

from __future__ import annotations

import gzip
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import planted
import psutil
import pytest
import yaml
from closed_terminal import on_a_terminal
from mlflow import MlflowClient
from terminal import TIMEOUT_S, Terminal

from llm.recipe import Recipe
from tasks.registry.abandoned import process_tags

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, toy_recipe: Recipe) -> Terminal:
    made = Terminal(tmp_path_factory.mktemp("terminal") / "home", toy_recipe)
    made.environment |= planted.ENVIRONMENT
    return made


@pytest.fixture(scope="module")
def trained(terminal: Terminal) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the first run."""
    return terminal.train()


def test_a_run_ends_with_figures_answers_and_how_to_pull(trained: tuple[int, str, str]) -> None:
    code, output, errors = trained
    assert code == 0, errors
    assert "classification: version 1 promoted" in output
    assert "baseline naive_bayes" in output
    assert 'mlflow.pyfunc.load_model("models:/classification@champion")' in output
    assert "AutoModelForSequenceClassification.from_pretrained" in output
    assert "Traceback" not in errors


def test_a_second_run_ends_once_the_corpus_is_read(terminal: Terminal, trained: tuple[int, str, str]) -> None:
    code, output, errors = terminal.train()
    assert code == 0, errors
    assert "classification: nothing new\n" in output
    assert "- version 1 was made from the same corpus with the same options; it was promoted on " in output
    assert output.count("reused") == 1
    assert "from_pretrained" not in output


def test_what_a_killed_command_left_open_in_mlflow_is_closed_though_there_is_nothing_new(
    terminal: Terminal, trained: tuple[int, str, str]
) -> None:
    registry = MlflowClient(f"sqlite:///{terminal.home}/mlflow/mlflow.db")
    tags = process_tags() | {"nightshift.process": f"{2**22 + 1}/0.0"}  # no process has that id
    left = registry.create_run(registry.create_experiment("translation"), tags=tags).info.run_id
    code, output, errors = terminal.train()
    assert (code, registry.get_run(left).info.status) == (0, "FAILED"), errors
    assert "classification: nothing new\n" in output


def test_a_run_that_is_to_continue_reuses_every_stage(terminal: Terminal, trained: tuple[int, str, str]) -> None:
    code, output, errors = terminal.train("--set", "when_nothing_new=continue")
    assert code == 0, errors
    assert "classification: nothing new\n" in output
    assert "built in" not in output
    assert output.count("reused") == 6


def test_models_lists_the_champion(terminal: Terminal, trained: tuple[int, str, str]) -> None:
    code, output, errors = terminal.run("models")
    assert code == 0, errors
    line = next(line for line in output.splitlines() if line.startswith("classification"))
    assert line.split()[1] == "1"
    assert "naive_bayes" in line


def test_predict_answers_on_stdout_alone(terminal: Terminal, trained: tuple[int, str, str]) -> None:
    code, output, errors = terminal.run("predict", "classification", "apple pear plum", "saw hammer drill")
    assert code == 0, errors
    labels = [line.split("\t")[0] for line in output.splitlines()]
    assert labels == ["fruit", "tool"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["predict", "classification", "apple", "--param", "top=3"], "there is no option 'top'"),
        (["predict", "translation", "apple"], "translation has no champion yet"),
    ],
)
def test_a_question_that_cannot_be_answered_is_one_clear_error(
    terminal: Terminal, trained: tuple[int, str, str], arguments: list[str], problem: str
) -> None:
    code, output, errors = terminal.run(*arguments)
    assert (code, output) == (2, "")
    assert problem in errors
    assert "remedy: " in errors
    assert "Traceback" not in errors


def test_a_failure_inside_the_flow_is_told_in_two_lines(terminal: Terminal) -> None:
    code, output, errors = terminal.train("--set", "corpus.paths=[/nowhere/rows.jsonl]")
    assert (code, output) == (2, "")
    assert errors.splitlines()[-2].startswith("error: ")
    assert "/nowhere/rows.jsonl" in errors
    assert errors.splitlines()[-1].startswith("remedy: ")
    assert "Traceback" not in errors


def test_ctrl_c_in_a_training_ends_it_with_130_and_leaves_no_process(terminal: Terminal) -> None:
    process = terminal.start(
        *("run", "classification", "--preset", "smoke", "--config", str(terminal.config)),
        *("--set", "training.steps=100000", "--set", "training.validate_every=10"),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step 10 of 100000" in line:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert planted.found_in(" ".join(part for child in children for part in child.cmdline())) == []
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert alive == []


def test_a_terminal_that_is_closed_in_a_training_leaves_a_checkpoint_and_no_process(terminal: Terminal) -> None:
    def checkpoints() -> set[Path]:
        return set(terminal.home.glob("stages/training/.partial-*/checkpoints/step-*"))

    before = checkpoints()
    options = "--set", "training.steps=100000", "--set", "training.validate_every=1000"
    command = [sys.executable, "-m", "deployments.cli", "run", "classification", "--preset", "smoke"]
    command += ["--config", str(terminal.config), *options, "--set", "training.seed=7"]
    with on_a_terminal(command, environment=terminal.environment) as closed:
        closed.read_until(lambda _shown: checkpoints() > before)
        children = psutil.Process(closed.process.pid).children(recursive=True)
        closed.close()
        assert closed.process.wait(TIMEOUT_S) == 143
    alive = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert alive == []
    steps = [int(made.name.removeprefix("step-")) for made in checkpoints() - before]
    assert max(steps) % 1000  # where it was stopped, not where it validated


SQL = {"source": "sql_query", "query": "SELECT body, topic FROM tickets ORDER BY id"}
REMOTE = {"source": "local_files", "format": "jsonl", "paths": [planted.SIGNED_ADDRESS]}


@pytest.mark.parametrize("corpus", [SQL, REMOTE | {"remote": {"trusted_hosts": ["localhost"]}}], ids=["sql", "signed"])
def test_a_source_that_cannot_be_reached_is_told_without_its_secrets(
    terminal: Terminal, tmp_path: Path, corpus: dict[str, object]
) -> None:
    config = tmp_path / "secret.yaml"
    config.write_text(yaml.safe_dump({"corpus": corpus | {"columns": {"text": "body", "label": "topic"}}}))
    code, output, errors = terminal.run("run", "classification", "--preset", "smoke", "--config", str(config))
    assert code == 2
    assert "Traceback" not in errors
    assert planted.found_in(output + errors) == []


def test_no_secret_of_the_environment_is_in_anything_that_the_runs_left(
    terminal: Terminal, trained: tuple[int, str, str]
) -> None:
    code, output, errors = trained
    assert code == 0
    assert planted.found_in(output + errors) == []
    left = {path.suffix for path in terminal.home.rglob("*")}
    assert {".db", ".gz", ".html", ".log", ".safetensors"} <= left
    assert planted.found_under(terminal.home) == {}


def test_the_search_for_secrets_finds_them_where_they_are(tmp_path: Path) -> None:
    token = planted.TOKENS["sql"]
    (tmp_path / "a.gz").write_bytes(gzip.compress(token.encode()))
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.execute("CREATE TABLE logs (line TEXT)")
        connection.execute("INSERT INTO logs VALUES (?)", ("x" * 4030 + token,))
        connection.commit()
    assert planted.found_under(tmp_path) == {str(tmp_path / name): ["sql"] for name in ("a.db", "a.gz")}
