"""Nights during which one of the servers is away: killed and started again, or hung.

    python -m benchmarks.outages --nights 20 --minutes 5     # the whole: 100 minutes and more
    python -m benchmarks.outages --nights 4 --seconds 20     # scaled down

Real Prefect and MLflow servers, tiny classifications, each with a seed of its own. At a random moment of a night, drawn
over the length of an undisturbed one, the Prefect server and the MLflow server in turn are away, dead and hung in turn.
A night that fails is run once more when the server is back. Then: the run has ended, the version is there once and
judged, and each point that the training noted in its own history is in MLflow exactly once, with its value.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployments.environment import answers, defaults
from deployments.processes import ChildProcess, terminable
from deployments.servers import Ports, free_port, mlflow_server, prefect_server, server_environment, wait_until

FAMILY = "classification"
WAYS = ("dead", "hung")
_LABELS = {"fruit": ("apple", "pear", "plum", "grape"), "tool": ("saw", "hammer", "drill", "wrench")}
_LONGEST_NIGHT_S = 3600.0


class Servers:
    """Both servers on a home of their own; either can be taken away."""

    def __init__(self, home: Path) -> None:
        self._ports = Ports(prefect=free_port(), mlflow=free_port())
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
        self.environment = server_environment(clean | {"NIGHTSHIFT_HOME": str(home)} | defaults(home), self._ports)
        self._running: dict[str, ChildProcess] = {}
        for name in ("prefect", "mlflow"):
            self._start(name)
        for name in self._running:
            self._wait(name)

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow server."""
        return self._ports.mlflow_url

    def _start(self, name: str) -> None:
        start = prefect_server if name == "prefect" else mlflow_server
        self._running[name] = start(self._ports, self.environment, again=True)

    def _wait(self, name: str) -> None:
        health = {"prefect": f"{self._ports.prefect_url}/api/health", "mlflow": f"{self._ports.mlflow_url}/health"}
        wait_until(lambda: answers(health[name]), self._running[name])

    def take_away(self, name: str, way: str, seconds: float) -> None:
        """Let a server be dead or hung for so long, and wait until it answers again."""
        server = self._running[name]
        os.killpg(server.pid, signal.SIGKILL if way == "dead" else signal.SIGSTOP)
        threading.Event().wait(seconds)
        if way == "dead":
            server.stop()
            self._start(name)
        else:
            os.killpg(server.pid, signal.SIGCONT)
        self._wait(name)

    def stop(self) -> None:
        """End both."""
        for server in self._running.values():
            os.killpg(server.pid, signal.SIGCONT)
            server.stop()


@dataclass
class Tally:
    """What was seen."""

    nights: int = 0
    at_once: int = 0  # ended without being run again
    points: int = 0
    outages: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    longest_s: float = 0.0


class Nights:
    """Runs nights in `folder`, and disturbs them."""

    def __init__(self, folder: Path, *, seed: int, seconds: float, patience: float) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._home.mkdir(parents=True)
        os.environ["NIGHTSHIFT_HOME"] = str(self._home)
        self._rows = folder / "rows.jsonl"
        _write_rows(self._rows)
        self._seconds = seconds
        self._patience = patience  # minutes
        self._draw = random.Random(seed)  # noqa: S311  (repeatable on purpose)
        self._servers = Servers(self._home)
        self._process: subprocess.Popen[bytes] | None = None
        self.tally = Tally()

    def run(self, nights: int, *, first: int) -> None:
        """An undisturbed night, and so many disturbed ones, numbered from `first` on."""
        try:
            begun = time.monotonic()
            if self._start(0).wait(_LONGEST_NIGHT_S):
                raise SystemExit(f"the undisturbed night failed: see {self._folder}/night-0.log")
            length = time.monotonic() - begun
            wanted = self._look(0)
            _say(f"undisturbed: {length:.0f} s, {self.tally.points} points; {'; '.join(wanted) or 'as expected'}")
            self.tally = Tally(wrong=wanted)
            seed = first
            while self.tally.nights < nights:
                seed += 1
                length = self._disturbed(first + self.tally.nights, seed, length)
        finally:
            # A second signal must not leave orphans.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._servers.stop()

    def _disturbed(self, night: int, seed: int, length: float) -> float:
        """Disturb one night; one that ended before its moment counts for nothing. Returns how long one takes."""
        name, way = ("mlflow", "prefect")[night % 2], WAYS[night // 2 % 2]
        moment, begun = self._draw.uniform(0.0, length), time.monotonic()
        process = self._start(seed)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            self._servers.take_away(name, way, self._seconds)
        else:
            _say(f"a night ended before {moment:.0f} s had passed")
            return time.monotonic() - begun
        code = process.wait(_LONGEST_NIGHT_S)
        wrong = []
        if code and self._start(seed).wait(_LONGEST_NIGHT_S):
            wrong.append("the run after it failed too")
        wrong += self._look(seed)
        took = time.monotonic() - begun
        self.tally.nights += 1
        self.tally.at_once += code == 0
        self.tally.outages[f"{name} {way}"] += 1
        self.tally.longest_s = max(self.tally.longest_s, took)
        self.tally.wrong += [f"night {night} ({name} {way} at {moment:.1f} s): {one}" for one in wrong]
        ended = "ended" if code == 0 else "failed, and was run again"
        _say(f"night {night}: {name} {way} after {moment:.0f} s, {ended}, {took:.0f} s; {'; '.join(wrong) or 'right'}")
        return length

    def _start(self, night: int) -> subprocess.Popen[bytes]:
        values = _options(self._rows, seed=night + 1, patience=self._patience)
        config = self._folder / f"night-{night}.yaml"
        config.write_text(yaml.safe_dump(values), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "deployments.cli", "run", FAMILY, "--preset", "smoke"]
        with (self._folder / f"night-{night}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--config", str(config)], env=self._servers.environment, stdout=log, stderr=log
            )
        return self._process

    def _look(self, night: int) -> list[str]:
        """What is wrong after a night; empty when nothing is."""
        from mlflow import MlflowClient

        client = MlflowClient(self._servers.mlflow_url)
        experiment = client.get_experiment_by_name(FAMILY)
        if experiment is None:
            return ["no experiment"]
        seed = f"params.`training.seed` = '{night + 1}'"
        runs = client.search_runs([experiment.experiment_id], seed)
        if [run.info.status for run in runs] != ["FINISHED"]:
            return [f"runs {[run.info.status for run in runs]}"]
        run = runs[0]
        key = run.data.tags["nightshift.training_key"]
        wrong = self._of_points(client, run.info.run_id, key)
        versions = client.search_model_versions(f"name = '{FAMILY}' and tags.`nightshift.training_key` = '{key}'")
        decisions = [version.tags.get("nightshift.decision") for version in versions]
        if len(decisions) != 1 or not decisions[0]:
            wrong.append(f"versions were decided as {decisions}")
        promoted = [
            int(version.version)
            for version in client.search_model_versions(f"name = '{FAMILY}'")
            if version.tags.get("nightshift.decision") == "promoted"
        ]
        champion = int(client.get_model_version_by_alias(FAMILY, "champion").version)
        wrong += [f"champion is {champion}, promoted were {promoted}"] * (champion != max(promoted))
        spooled = list((self._home / "spool").glob("*"))
        return wrong + [f"left in the spool: {spooled}"] * bool(spooled)

    def _of_points(self, client: Any, run_id: str, key: str) -> list[str]:
        (history,) = (self._home / "stages").glob(f"*/{key}/history.jsonl")
        expected: dict[str, list[tuple[int, float]]] = {}
        for line in history.read_text(encoding="utf-8").splitlines():
            values = json.loads(line)
            step = int(values.pop("step"))
            for name, value in values.items():
                expected.setdefault(name, []).append((step, value))
        wrong = []
        for name, points in expected.items():
            found = [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
            self.tally.points += len(points)
            if sorted(found) != points:
                wrong.append(f"{name}: {len(found)} points in MLflow, {len(points)} in the history")
        return wrong


def _options(rows: Path, *, seed: int, patience: float) -> dict[str, Any]:
    return {
        "corpus": {
            "source": "local_files",
            "format": "jsonl",
            "paths": [str(rows)],
            "columns": {"text": "text", "label": "label"},
        },
        "splits": {"validation": 0.2, "test": 0.2},
        "training": {"steps": 200, "validate_every": 10, "seed": seed, "threads": 1, "precision": "float32"},
        "registry": {"patience": patience},
    }


def _write_rows(path: Path) -> None:
    draw = random.Random(1)  # noqa: S311  (repeatable on purpose)
    with path.open("w", encoding="utf-8") as file:
        for number in range(400):
            label = draw.choice(sorted(_LABELS))
            text = " ".join(draw.choices(_LABELS[label], k=4)) + f" {number}"
            file.write(json.dumps({"text": text, "label": label}) + "\n")


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the nights, print one line of figures; exit code 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outages", description=__doc__)
    parser.add_argument("--nights", type=int, default=20)
    parser.add_argument("--first", type=int, default=1, help="number of the first night: who is away, and its seed")
    parser.add_argument("--minutes", type=float, default=5.0, help="that a server is away")
    parser.add_argument("--seconds", type=float, help="the same, in seconds")
    parser.add_argument("--patience", type=float, help="registry.patience in minutes; default: three times as long")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--folder", type=Path, help="for homes and logs")
    arguments = parser.parse_args()
    seconds = arguments.seconds if arguments.seconds is not None else 60 * arguments.minutes
    patience = arguments.patience or seconds / 20
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="outages-"))).resolve()
    _say(f"seed {arguments.seed}, in {folder}")
    begun = time.monotonic()
    with terminable():
        nights = Nights(folder, seed=arguments.seed, seconds=seconds, patience=patience)
        nights.run(arguments.nights, first=arguments.first)
    tally = nights.tally
    line = {
        "nights": tally.nights,
        "seconds_away": seconds,
        "seed": arguments.seed,
        "outages": dict(tally.outages),
        "ended_at_once": tally.at_once,
        "points": tally.points,
        "longest_night_s": round(tally.longest_s),
        "seconds": round(time.monotonic() - begun),
        "load": round(os.getloadavg()[1], 1),
        "wrong": tally.wrong,
    }
    print(json.dumps(line))
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
