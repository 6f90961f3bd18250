"""`nightshift serve` as a person starts and stops it: from a folder, from the registry, and when it cannot be."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import safetensors.numpy

from llm.files import sha256_of
from llm.predictor import Predictor
from llm.serving.server import open_port
from tasks.registry.logged_model import ModelToLog
from tasks.registry.runs import DatasetRecord, TrainingIdentity, training_run
from tasks.registry.unused_copies import remove_copies, unneeded_copies
from tasks.registry.versions import Measured, Version, champion, promote, register

LONGEST_S = 180


@pytest.fixture(scope="module")
def home(toy_training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose champion is version 1 of the toy classification."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow/mlflow.db")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        promote(registered(toy_training.path / "model", "k"), over=None, reasons=("the first",), description="")
    return folder


def registered(folder: Path, key: str) -> Version:
    data = DatasetRecord("toy/train", digest=key, source="{}", context="train")
    identity = TrainingIdentity("classification", key, {}, datasets=(data,), tags={})
    model = ModelToLog(folder, "classification", key, ["apple"], [{"label": "fruit"}], {"top_k": 1})
    with training_run(identity) as run:
        return register(run, model, Measured({"accuracy": 1.0}, {}, "c0ffee"), step=1)


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, once it has told its address; it is ended by the test, or here."""
    process = command(home, *arguments)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://127.0.0.1:" in line, process.communicate(timeout=LONGEST_S)[1]
        yield process, line
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=LONGEST_S)


def command(home: Path, *arguments: str, name: str = "serve") -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "deployments.cli", name, *arguments],
        env=kept | {"NIGHTSHIFT_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def post(address: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
    found = urlsplit(address)
    connection = http.client.HTTPConnection(found.hostname or "", found.port, timeout=LONGEST_S)
    try:
        connection.request("POST", found.path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_champion_is_served_until_a_signal_ends_it_cleanly(home: Path, toy_training, number: signal.Signals):
    with serving(home, "classification", "--port", "0") as (process, line):
        assert line.startswith("classification version 1  http://127.0.0.1:")
        status, answer = post(line.split()[-1], {"inputs": ["apple pear"], "params": {"top_k": 2}})
        expected = Predictor.load(toy_training.path / "model").predict(["apple pear"], top_k=2)
        assert (status, answer) == (200, {"predictions": expected})
        assert post(line.split()[-1], {"inputs": [3]})[0] == 400
        process.send_signal(number)
        _, errors = process.communicate(timeout=LONGEST_S)
        assert process.returncode == 0, errors
        assert errors.splitlines()[-1] == "stopped"
        assert "2 requests with 1 texts" in errors
        assert "refused: 1 x 400" in errors
        assert "apple" not in errors


@pytest.mark.slow
def test_the_copy_that_a_server_reads_stays_as_long_as_it_serves(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(home))
    copy = home / "champions" / "classification" / "k"

    def removed() -> list[Path]:
        os.utime(copy, (0, 0))
        old = unneeded_copies(unused_since=datetime.now(UTC) - timedelta(days=30), keep=list)
        assert [one.path for one in old] == [copy]
        return [one.path for one in remove_copies(old)]

    with serving(home, "classification", "--version", "1", "--port", "0") as (_, line):
        assert removed() == []
        assert post(line.split()[-1], {"inputs": ["apple pear"]})[0] == 200
    assert removed() == [copy]


@pytest.mark.slow
def test_after_a_rollback_the_older_version_is_served_by_hash_and_by_answers(
    home: Path, toy_training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow/mlflow.db")
    old, new = toy_training.path / "model", tmp_path / "new" / "model"
    shutil.copytree(old, new)
    weights = safetensors.numpy.load_file(new / "model.safetensors")
    # It says tool where the other says fruit.
    turned = {name: -value if name.startswith("classifier") else value for name, value in weights.items()}
    safetensors.numpy.save_file(turned, new / "model.safetensors", {"format": "pt"})
    promote(registered(new, "k2"), over=champion("classification"), reasons=("for the test",), description="")
    seen = {}
    for number, folder in ((2, new), (1, old)):
        with serving(home, "classification", "--port", "0") as (_, line):
            assert line.startswith(f"classification version {number}  ")
            _, answer = post(line.split()[-1], {"inputs": ["apple pear", "saw hammer"]})
        assert answer == {"predictions": Predictor.load(folder).predict(["apple pear", "saw hammer"])}
        done = command(home, "classification", str(tmp_path / str(number)), name="pull")
        assert done.communicate(timeout=LONGEST_S)[1] is not None
        assert sha256_of(tmp_path / str(number) / "model.safetensors") == sha256_of(folder / "model.safetensors")
        seen[number] = answer
        if number == 2:
            done = command(home, "classification", name="rollback")
            assert done.communicate(timeout=LONGEST_S)[0].startswith("classification: version 1 is champion")
    assert seen[1] != seen[2]


@pytest.mark.slow
def test_a_folder_is_served_without_a_registry(tmp_path: Path, model_folder: Callable[[str], Path]):
    folder = model_folder("translation")
    with serving(tmp_path / "home", str(folder), "--port", "0") as (_, line):
        assert line.startswith(f"{folder}  http://127.0.0.1:")
        status, answer = post(line.split()[-1], {"inputs": ["apple"], "params": {"max_new_tokens": 4}})
        assert (status, answer) == (200, {"predictions": Predictor.load(folder).predict(["apple"], max_new_tokens=4)})


@pytest.mark.slow
def test_what_cannot_be_served_is_two_lines(home: Path):
    with open_port(0) as taken:
        port = str(taken.getsockname()[1])
        cases = {
            ("classification", "--version", "9", "--port", "0"): "error: classification has no version '9'\n",
            (
                "classification",
                "--port",
                port,
            ): f"error: port {port} on 127.0.0.1 cannot be used (Address already in use)\n",
            ("no/folder",): "error: no/folder: there is no such folder\n",
        }
        for arguments, problem in cases.items():
            process = command(home, *arguments)
            output, errors = process.communicate(timeout=LONGEST_S)
            assert (process.returncode, output) == (2, "")
            assert errors.startswith(problem)
            assert errors.splitlines()[-1].startswith("remedy: ")
