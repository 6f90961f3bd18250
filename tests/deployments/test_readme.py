"""Every snippet and every `nightshift` command of the README runs; on toy corpora, with the smoke preset and few steps.

`make` targets and scripts are looked up only: continuous integration runs them.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from made_rows import row
from prefect_serving import prefect_serves
from terminal import TIMEOUT_S, Terminal

from flows.nights_file import load_nights
from llm.families import FAMILIES, load_family
from llm.recipe import Recipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Never end by themselves; test_up.py runs the first two, and the test of the servers below the other.
ELSEWHERE = {"nightshift up", "nightshift up --config nights.yaml", "nightshift serve translation"}
# One thread: two tests run side by side on two cores, and two trainings of two threads each wait for one another.
TOY_TRAINING = {"context": 32, "threads": 1}
# What else than a checkout's own programs is run.
SERVERS = ("curl", "mlflow")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The lines of the shell blocks, and the commands within sentences, without their comments."""
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    inline = re.findall(r"`(nightshift run [^`]+)`", README)
    return [re.sub(r"\s+#.*", "", line) for line in [*lines, *inline] if line]


def test_the_readme_shows_commands_of_every_kind() -> None:
    found = commands()
    assert {"make run", "make test", "nightshift up", "nightshift models", ".ci/run"} <= set(found)
    assert sum(command.startswith("nightshift ") for command in found) >= 6
    assert len(blocks("python")) == 2


@pytest.mark.parametrize("command", [c for c in commands() if not c.startswith(("nightshift", *SERVERS))])
def test_a_command_about_the_checkout_exists(command: str) -> None:
    program, *arguments = shlex.split(command)
    if program == "make":
        dry = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert dry.returncode == 0, dry.stderr
        assert dry.stdout.strip()
    else:
        assert os.access(ROOT / program, os.X_OK)


def block_of(file: str) -> str:
    """The YAML block whose first line names `file`."""
    [found] = [block for block in blocks("yaml") if block.startswith(f"# {file}")]
    return found


def test_the_file_of_nights_and_the_file_of_options_that_it_names_are_what_they_should_be(tmp_path: Path) -> None:
    for name in ("nights.yaml", "support.yaml"):
        (tmp_path / name).write_text(block_of(name))
    nights = load_nights(tmp_path / "nights.yaml")
    [tickets] = nights.families
    assert (nights.finish_by, tickets.family, tickets.training.steps) == ("06:00", "classification", 3000)
    assert tickets.corpus.source == "local_files"


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of the server that `nightshift run` uses in place of its own, as it uses that of `nightshift up`."""
    with prefect_serves(tmp_path_factory.mktemp("prefect")) as api:
        yield api


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory, toy_recipe: Recipe, prefect: str) -> Terminal:
    """A home with a champion of each family, and the files that the README's own example names."""
    terminal = Terminal(tmp_path_factory.mktemp("readme") / "home", toy_recipe)
    terminal.environment["PREFECT_API_URL"] = prefect
    for name in FAMILIES:
        rows = terminal.folder / f"{name}.jsonl"
        rows.write_text("".join(json.dumps(row(name, number)) + "\n" for number in range(200)))
        fields = load_family(name).fields
        corpus = {"source": "local_files", "format": "jsonl", "paths": [str(rows)], "columns": {f: f for f in fields}}
        config = terminal.folder / f"{name}.yaml"
        options = {"corpus": corpus, "splits": {"validation": 0.2, "test": 0.2}, "training": TOY_TRAINING}
        config.write_text(yaml.safe_dump(options))
        code, _, errors = terminal.run("run", name, "--preset", "smoke", "--config", str(config))
        assert code == 0, errors
    (terminal.folder / "support.yaml").write_text(block_of("support.yaml"))
    (terminal.folder / "tickets").mkdir()
    tickets = "".join(f"{row('classification', n)['text']},team {n % 2}\n" for n in range(200))
    (terminal.folder / "tickets" / "may.csv").write_text("body,team\n" + tickets)
    return terminal


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("nightshift") and c not in ELSEWHERE])
def test_a_command_of_nightshift_does_what_it_should(terminal: Terminal, command: str) -> None:
    _, *arguments = shlex.split(command)
    if arguments[0] == "run":
        # The same command in seconds: a later option wins.
        arguments = [*arguments, "--preset", "smoke", "--set", "training.steps=10", "--set", "training.warmup=2"]
        arguments += ["--set", "training.threads=1"]
        if "--config" not in arguments:
            arguments += ["--config", str(terminal.folder / f"{arguments[1]}.yaml")]
    code, output, errors = terminal.run(*arguments)
    assert code == 0, errors
    assert output.strip()


@pytest.mark.slow
def test_the_servers_answer_what_is_sent_to_them(terminal: Terminal) -> None:
    ask, stream = (command for command in commands() if command.startswith("curl"))
    [mlflow] = (command for command in commands() if command.startswith("mlflow"))
    port = free_port()
    server = terminal.start("serve", "translation", "--port", str(port))
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{port}/invocations" in server.stdout.readline()
        answered = json.loads(asked(ask, port=port))
        pieces = asked(stream, port=port)
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=TIMEOUT_S)
    assert len(answered["predictions"]) == 1
    assert pieces.endswith("event: end\ndata: {}\n\n")
    other = free_port()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{terminal.environment['PATH']}"
    outside = {"PATH": programs, "MLFLOW_TRACKING_URI": f"sqlite:///{terminal.home}/mlflow/mlflow.db"}
    peer = subprocess.Popen(
        [sys.executable, "-m", *shlex.split(mlflow.replace("5002", str(other)))],
        env=terminal.environment | outside | {"PYTHONSAFEPATH": "1"},
        cwd=terminal.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        # curl waits for the server to come up.
        again = json.loads(asked(f"{ask} --retry 300 --retry-delay 1 --retry-connrefused", port=other))
    finally:
        os.killpg(peer.pid, signal.SIGTERM)
        peer.wait(TIMEOUT_S)
    assert again == answered


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def asked(command: str, *, port: int) -> str:
    """What a curl of the README prints, with the server at another port."""
    arguments = shlex.split(command.replace("127.0.0.1:5001", f"127.0.0.1:{port}"))
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_snippets_for_pulling_a_model_run_one_after_the_other(terminal: Terminal) -> None:
    code = "\n".join(blocks("python"))
    address = re.search(r"sqlite:////\S+?mlflow\.db", code)
    assert address is not None
    code = code.replace(address[0], f"sqlite:///{terminal.home}/mlflow/mlflow.db")
    ending = "\nassert len(tokenizer) == model.config.vocab_size\nprint(type(model).__name__)"
    pulled = subprocess.run(
        [sys.executable, "-c", code + ending],
        cwd=terminal.folder,
        env=terminal.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert pulled.returncode == 0, pulled.stderr
    assert pulled.stdout.split()[-1] == "PegasusForConditionalGeneration"
