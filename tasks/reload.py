"""A fresh process that loads a logged model as a stranger would: the gate's first check, a test before a rollback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import llm
from llm.errors import KilledError
from llm.files import read_json, temporary_folder
from llm.home import scratch_folder
from llm.processes import last_line
from llm.progress import waiting

_SHOWN = 80
_LONGEST_S = 900.0
# Not imported: only the fresh process itself may import it.
_SERVER_AWAY = 75


@dataclass(frozen=True)
class ReloadResult:
    """Whether the logged model repeated its predictions, and one sentence on it."""

    ok: bool
    sentence: str


@dataclass(frozen=True)
class Answered:
    """What a logged model said in a fresh process: `answers`, or None and why not in `failure`."""

    answers: Sequence[Any] | None
    failure: str = ""


class FreshProcess:
    """A process that imports MLflow and torch while its owner goes on, and then takes one model.

    A context manager: the process does not outlive it (Prefect's cancellation would leave it alone), nor its owner,
    since it ends when the pipe to it is closed.
    """

    def __init__(self, *, threads: int, tracking_uri: str = "sqlite://") -> None:
        # By default in memory: a model that lies in a folder asks no tracking server, and must not find one by chance.
        self._folder = temporary_folder(scratch_folder(), prefix="nightshift-")
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": tracking_uri,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "OMP_NUM_THREADS": str(threads),
            # Who asks for it may be more patient than a process that does nothing else.
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
            # The current folder may hold a file that is called like a library; ours is named here.
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": str(Path(llm.__file__).parents[1]),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tasks.reload_check"],
            env=environment,
            cwd=self._folder.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._folder.cleanup()

    def ask(self, model_uri: str, inputs: Sequence[str]) -> Answered:
        """Load the model, which must run the code that was logged with it, and let it answer; once a process.

        Raises KilledError when the process is killed, ConnectionError when MLflow did not answer: neither says anything
        of the model.
        """
        answered = Path(self._folder.name) / "answered.json"
        request = json.dumps({"model": model_uri, "inputs": list(inputs), "answers": str(answered)})
        with waiting("loading the logged model in a fresh process"):
            try:
                _, errors = self._process.communicate(request, timeout=_LONGEST_S)
            except subprocess.TimeoutExpired:
                return Answered(None, f"the logged model did not load and answer in {_LONGEST_S:.0f} s")
        if self._process.returncode < 0:
            # Killed (out of memory, mostly): that says nothing of the model, and nothing may be decided on it.
            raise KilledError(
                f"{model_uri}: the process that tests whether it loads was ended by signal {-self._process.returncode}",
                remedy="look whether memory ran out, and run again: what is finished is kept",
            )
        if self._process.returncode == _SERVER_AWAY:
            raise ConnectionError(last_line(errors))
        if self._process.returncode != 0:
            return Answered(None, f"the logged model does not load in a fresh process: {last_line(errors)}")
        found = read_json(answered)
        if Path(found["code"]).is_relative_to(Path(llm.__file__).parent):
            return Answered(None, f"the logged model ran the code in {found['code']} in place of its own copy")
        return Answered(found["answers"])


def check_reload(
    model_uri: str, predictions: Mapping[str, Any], *, tracking_uri: str, threads: int, tolerance: float
) -> ReloadResult:
    """Load `model_uri` in a new process and compare its answers with `predictions` (inputs, answers).

    `threads` is what the training used: it decides the last bits of sums, and so may decide between two tokens.
    """
    with FreshProcess(threads=threads, tracking_uri=tracking_uri) as process:
        answered = process.ask(model_uri, predictions["inputs"])
    if answered.answers is None:
        return ReloadResult(False, answered.failure)
    return compare(predictions["answers"], answered.answers, tolerance=tolerance)


def compare(expected: Sequence[Any], found: Sequence[Any], *, tolerance: float) -> ReloadResult:
    """Texts must be the same to the letter, numbers in records within `tolerance`."""
    if len(expected) != len(found):
        return ReloadResult(False, f"the logged model gave {len(found)} answers to {len(expected)} inputs")
    for number, (before, after) in enumerate(zip(expected, found, strict=True)):
        if not _same(before, after, tolerance=tolerance):
            return ReloadResult(
                False,
                f"the logged model answers input {number} with {_short(after)}, after training it was {_short(before)}",
            )
    return ReloadResult(True, f"loads in a fresh process and repeats {len(expected)} of {len(expected)} predictions")


def _same(before: Any, after: Any, *, tolerance: float) -> bool:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(
            _same(before[name], after[name], tolerance=tolerance) for name in before
        )
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(
            _same(one, other, tolerance=tolerance) for one, other in zip(before, after, strict=True)
        )
    if isinstance(before, float) and isinstance(after, float):
        return abs(before - after) <= tolerance
    return bool(before == after)


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
