"""`nightshift batch-predict`, with two versions of a toy model in a real registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_registry import register_folder, settle_in
from typer.testing import CliRunner, Result

from deployments.cli import app
from llm.batch_prediction.work import Work
from tasks.registry.connection import client
from tasks.registry.versions import promote

runner = CliRunner()


@pytest.fixture(scope="module")
def registry(toy_training, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Version 1 is champion, version 2 is not."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        settle_in(home, patch)
        first = register_folder(toy_training.path / "model", "classification", "k1")
        promote(first, over=None, reasons=("the first",), description="")
        register_folder(toy_training.path / "model", "classification", "k2")
        yield home


@pytest.fixture(autouse=True)
def at_home(registry: Path, nightshift_home: Path, monkeypatch: pytest.MonkeyPatch, own_environment: None) -> None:
    settle_in(registry, monkeypatch)
    crown(1)


def crown(number: int) -> None:
    client().set_registered_model_alias("classification", "champion", str(number))


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.csv"
    rows = [f"{number},{('apple pear', 'saw hammer')[number % 2]}" for number in range(30)]
    path.write_text("\n".join(["id,body", *rows, "30,"]) + "\n")
    return path


def batch_predict(*arguments: object) -> Result:
    return runner.invoke(app, ["batch-predict", "classification", *map(str, arguments)])


def test_every_row_is_answered_by_the_champion_and_counted(tickets, tmp_path):
    done = batch_predict(tickets, tmp_path / "out.jsonl", "--column", "body", "--param", "top_k=2")
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["fruit", "tool"] * 15 + [None]
    assert rows[0]["top"][1][0] == "tool"
    lines = done.stdout.splitlines()
    assert lines[0] == f"30 of 31 rows answered by classification version 1: {tmp_path / 'out.jsonl'}"
    assert lines[1:4] == ["- rows read: 31", "- answered: 30", "- not answered: empty: 1"]
    assert lines[4].startswith("- rows a second: ")


def killed_after_a_part(*arguments: object) -> None:
    write = Work.write_part

    def writing(self, number, outcomes):
        write(self, number, outcomes)
        raise SystemExit(9)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "write_part", writing)
        assert batch_predict(*arguments).exit_code == 9


def test_a_promotion_meanwhile_does_not_mix_two_models(tickets, tmp_path):
    command = (tickets, tmp_path / "out.jsonl", "--column", "body", "--set", "rows_per_part=10")
    killed_after_a_part(*command)
    crown(2)
    done = batch_predict(*command)
    assert done.stdout.startswith("30 of 31 rows answered by classification version 1")
    assert "- of these answered by a run that was cut off: 10" in done.stdout


def test_another_version_is_refused_for_an_unfinished_job_by_name(tickets, tmp_path):
    command = (tickets, tmp_path / "out.jsonl", "--column", "body", "--set", "rows_per_part=10")
    killed_after_a_part(*command)
    done = batch_predict(*command, "--version", "2")
    assert done.exit_code == 2
    assert "model was classification version 1 (k1), now classification version 2 (k2)" in done.stderr
    assert "remedy: repeat that job to finish it, or drop what it did and start anew (--start-anew)" in done.stderr
    done = batch_predict(*command, "--version", "2", "--start-anew")
    assert done.stdout.startswith("30 of 31 rows answered by classification version 2")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["{tickets}", "{tmp}/out.jsonl"], "there is no column 'text'"),
        (["{tickets}", "{tickets}.xml"], "does not tell a format that is written"),
        (["{tickets}", "{tmp}/out.csv", "--version", "9"], "classification has no version '9'"),
        (["{tickets}", "{tmp}/out.csv", "--param", "beams=4"], "there is no option 'beams'"),
        (["{tickets}", "{tmp}/out.csv", "--set", "rows=4"], "batch-predict: there is no option 'rows'"),
        (["sql:SELECT 1", "{tmp}/out.csv"], "has no ORDER BY"),
    ],
)
def test_a_mistake_is_two_lines_and_leaves_nothing(tickets, tmp_path, arguments, problem):
    done = batch_predict(*[text.format(tickets=tickets, tmp=tmp_path) for text in arguments])
    assert done.exit_code == 2, done.output
    assert problem in done.stderr
    assert done.stderr.splitlines()[-1].startswith("remedy: ")
    assert [path.name for path in tmp_path.iterdir()] == ["tickets.csv"]


def test_a_damaged_model_does_not_predict(registry, tickets, tmp_path):
    assert batch_predict(tickets, tmp_path / "one.csv", "--column", "body").exit_code == 0
    copy = registry / "champions" / "classification" / "k1" / "model.safetensors"
    whole = copy.read_bytes()
    stored = [path for path in (registry / "mlflow").rglob(copy.name) if path.read_bytes() == whole]
    try:
        for weights in (copy, *stored):
            weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        done = batch_predict(tickets, tmp_path / "two.csv", "--column", "body")
    finally:
        for weights in stored:
            weights.write_bytes(whole)
    assert "SHA-256 of model.safetensors is" in done.stderr
    assert not (tmp_path / "two.csv").exists()
