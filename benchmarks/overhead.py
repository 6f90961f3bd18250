"""What Prefect and MLflow cost: a night of which every stage is there already, and a training inside the flow.

Both run against the servers of a `nightshift up` in a home of its own. Beside the night stand the same stages as plain
function calls of `llm`, a whole process too. Beside the training stands the same training by `llm` alone: once while
the servers wait for work, and once while they are halted, so that the flow also pays for what they always take. The
three go on in turns of a few seconds, and are compared step by step.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.noon import zone_at_noon
from benchmarks.race import machine
from benchmarks.turns import Training, compared, take_turns

_ROOT = Path(__file__).parents[1]
_START_S = 300.0
_FAMILY = "translation"
_CONTINUE = "when_nothing_new=continue"


@contextmanager
def servers(environment: Mapping[str, str], home: Path) -> Iterator[psutil.Process]:
    """`nightshift up` with its children, once it has written where it is."""
    from llm.serving.server import open_port

    ports = []
    for _ in range(2):
        with open_port(0) as probe:
            ports.append(str(probe.getsockname()[1]))
    command = ["up", "--prefect-port", ports[0], "--mlflow-port", ports[1]]
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(_nightshift(command), env=dict(environment), stdout=log, stderr=log, cwd=home)
    try:
        deadline = time.monotonic() + _START_S
        while not (home / "servers.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nightshift up did not start:\n{(home / 'up.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def timed(command: Sequence[str], environment: Mapping[str, str], log: Path) -> float:
    """Seconds of a whole process; raises RuntimeError with the end of what it said when it fails."""
    begun = time.perf_counter()
    with log.open("wb") as output:
        code = subprocess.call(command, env=dict(environment), stdout=output, stderr=output, cwd=log.parent)
    seconds = time.perf_counter() - begun
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{log.read_text()[-2000:]}")
    return seconds


def cached_night(environment: Mapping[str, str], home: Path, *, rounds: int) -> dict[str, list[float]]:
    """Seconds of nights of all families that find every stage built, by kind, in turns."""
    run = _nightshift(["run", "--preset", "smoke"])
    first = timed([*run, "--set", _CONTINUE], environment, home / "first.log")
    found: dict[str, list[float]] = {"first": [first], "all stages reused": [], "nothing new": [], "plain calls": []}
    for _ in range(rounds):
        found["all stages reused"].append(timed([*run, "--set", _CONTINUE], environment, home / "night.log"))
        found["nothing new"].append(timed(run, environment, home / "quiet.log"))
        found["plain calls"].append(timed(_self("--plain", str(home)), environment, home / "plain.log"))
    return found


def training(
    environment: Mapping[str, str], home: Path, up: psutil.Process, *, steps: int, starts: int, turn_s: float
) -> dict[str, Any]:
    """The same training inside the flow and without it, step by step: see `turns.compared`."""
    found = []
    for start in range(starts):
        # A seed of its own: the flow would go on from the last checkpoint of the start before.
        options = [f"training.steps={steps}", f"training.seed={1000 + start}", "evaluation.must_beat=[]"]
        settings = [part for option in options for part in ("--set", option)]
        with tempfile.TemporaryDirectory() as scratch:
            folders = [str(Path(scratch) / name) for name in ("waiting", "halted")]
            alone = [["--alone", folder, str(home), *options] for folder in folders]
            trainings = {
                "in the flow": Training("deployments.cli", ["run", _FAMILY, *settings]),
                "alone": Training("benchmarks.overhead", alone[0]),
                "alone, servers halted": Training("benchmarks.overhead", alone[1], without=up),
            }
            command = [sys.executable, "-P", "-m"]
            # Who starts last finds the memory that the others left.
            first = start % len(trainings)
            found.append(take_turns(trainings, command, environment, steps=steps, turn_s=turn_s, first=first))
    return compared(found)


def plain(home: Path) -> None:
    """All stages of a smoke night by function calls; they are there, so each is only looked at."""
    from flows.configuration import load_config
    from llm.chain import corpus_of, evaluation_of, tokenizer_of, tokens_of
    from llm.families import FAMILIES
    from llm.training.stage import training_stage

    root, downloads = home / "stages", home / "downloads"
    for family in FAMILIES:
        recipe = load_config(family, preset="smoke").recipe
        corpus = corpus_of(recipe, root=root, downloads=downloads)
        tokenizer = tokenizer_of(recipe, corpus, None, root=root, downloads=downloads)
        tokens = tokens_of(recipe, corpus, tokenizer, root=root)
        trained = training_stage(recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=root, report=_unheard)
        if not trained.reused:
            raise RuntimeError(f"{family} was trained anew: the night is not cached")
        evaluation_of(recipe, trained, corpus, root=root)


def alone(scratch: Path, home: Path, options: Sequence[str]) -> None:
    """The training of `training` without Prefect and MLflow, into `scratch`."""
    import yaml

    from flows.configuration import load_config
    from llm.chain import corpus_of, tokenizer_of, tokens_of
    from llm.training.stage import training_stage

    overrides = {name: yaml.safe_load(value) for name, value in (option.split("=") for option in options)}
    recipe = load_config(_FAMILY, preset="quick", overrides=overrides).recipe
    root, downloads = home / "stages", home / "downloads"
    corpus = corpus_of(recipe, root=root, downloads=downloads)
    tokenizer = tokenizer_of(recipe, corpus, None, root=root, downloads=downloads)
    tokens = tokens_of(recipe, corpus, tokenizer, root=root)
    training_stage(recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=scratch, report=_unheard)


def _unheard(step: int, values: Mapping[str, float]) -> None:
    """Nobody takes these figures."""


def _nightshift(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-P", "-m", "deployments.cli", *arguments]


def _self(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "benchmarks.overhead", *arguments]


def summary(found: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians, and all that went into them, in seconds."""
    return {
        name: {"median": round(statistics.median(values), 2), "all": [round(value, 2) for value in values]}
        for name, values in found.items()
        if values
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="nights of each kind; 0: the training only")
    parser.add_argument("--steps", type=int, default=900, help="steps of the training; 0: nights only")
    parser.add_argument("--starts", type=int, default=1, help="how often the training is begun anew")
    parser.add_argument("--turn", type=float, default=6.0, help="seconds for which each training goes on at a time")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.plain:
        plain(options.plain)
        return
    if options.alone:
        scratch, home, *settings = options.alone
        alone(Path(scratch), Path(home), settings)
        return
    facts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="nightshift-overhead-") as folder:
        home = Path(folder)
        environment = os.environ | {
            "NIGHTSHIFT_HOME": folder,
            "NIGHTSHIFT_ZONE": zone_at_noon(),
            "PYTHONPATH": str(_ROOT),
        }
        with servers(environment, home) as up:
            if options.rounds:
                facts["nights"] = summary(cached_night(environment, home, rounds=options.rounds))
            if options.steps:
                facts["training"] = training(
                    environment, home, up, steps=options.steps, starts=options.starts, turn_s=options.turn
                )
    print(json.dumps({"benchmark": "overhead", **facts, "machine": machine()}))


if __name__ == "__main__":
    main()
