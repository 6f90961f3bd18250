"""MLflow runs whose process died before it could close them are closed by `nightshift up`.

Prefect's hooks do it where a flow run ends while its worker lives and MLflow answers. For the rest (a power cut, a
worker that was killed too, an MLflow that was away) no hook runs: so whenever a flow run has ended badly, whoever ended
it, `up` looks for itself.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deployments.addresses import API_VARIABLE
from deployments.environment import answers
from deployments.leftovers import OWNER_VARIABLE
from deployments.prefect_api import ask
from deployments.processes import ServerError, tail
from llm.home import home

# From the end of its flow run to the end of a process: it would count as alive.
SETTLE_S = 30.0
_EVERY_S = 30.0
# The work takes two seconds, most of which is the import of mlflow.
_LONGEST_S = 60.0
_LOOK_BACK = timedelta(days=1)


class AbandonedRuns:
    """Watches for flow runs that ended badly; `look` often. `environment` is that of a worker.

    A child process closes the MLflow runs: MLflow's client may hang while MLflow does, and here nothing may wait.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # Not owned: `end_strays` would take it for a flow run of a dead worker.
        self._environment = {name: value for name, value in environment.items() if name != OWNER_VARIABLE}
        self._settle = timedelta(seconds=settle_s)
        self._clock = clock
        self._looked = clock() - _EVERY_S
        # Flow runs that nothing is left of; None at the start, when nobody knows what was left the last time.
        self._settled: set[str] | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: set[str] = set()
        self._failing = False

    def look(self) -> list[str]:
        """Close what is abandoned, at first and after each bad end, looking twice a minute; returns what to tell."""
        now = self._clock()
        if self._child is not None:
            return self._hear(self._child, now - self._looked)
        if now - self._looked < _EVERY_S:
            return []
        self._looked = now
        try:
            ended = self._ended_badly()
        except ServerError:
            return []  # it is away, and the next look comes
        if self._settled is not None and ended <= self._settled:
            return []
        self._asked = ended
        return self._begin()

    def _ended_badly(self) -> set[str]:
        now = datetime.now(UTC)
        body = {
            "flow_runs": {
                "state": {"type": {"any_": ["CRASHED", "FAILED", "CANCELLED"]}},
                "end_time": {"after_": (now - _LOOK_BACK).isoformat(), "before_": (now - self._settle).isoformat()},
            },
            "sort": "END_TIME_DESC",
        }
        return {run["id"] for run in ask(self._environment[API_VARIABLE], "POST", "flow_runs/filter", body)}

    def _begin(self) -> list[str]:
        # Not worth a process every half a minute.
        if not answers(f"{self._environment['MLFLOW_TRACKING_URI']}/health"):
            return self._failed("MLflow does not answer")
        command = [sys.executable, "-P", "-m", "tasks.registry.abandoned"]
        try:
            _log().parent.mkdir(parents=True, exist_ok=True)
            with _log().open("wb") as errors:
                # A session of its own: Ctrl-C is for us.
                self._child = subprocess.Popen(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,  # one line, if any
                    stderr=errors,
                    start_new_session=True,
                )
        except OSError as error:
            return self._failed(str(error))
        return []

    def _hear(self, child: subprocess.Popen[bytes], seconds: float) -> list[str]:
        code = child.poll()
        if code is None and seconds < _LONGEST_S:
            return []
        if code is None:
            child.kill()
        output, _ = child.communicate()
        self._child = None
        if code != 0:
            return self._failed(f"it took {seconds:.0f} s" if code is None else tail(_log(), lines=1).strip())
        self._settled, self._failing = self._asked, False
        # Above it, MLflow prints the addresses of the runs, unless it is told not to, as `prepare()` does.
        return output.decode().splitlines()[-1:]

    def _failed(self, reason: str) -> list[str]:
        """Once an absence: each look tries again."""
        first, self._failing = not self._failing, True
        told = "MLflow runs that ended flow runs may have left open could not be closed, which is tried again"
        return [f"{told}: {reason}"] if first else []


def _log() -> Path:
    return home() / "logs" / "abandoned.log"
