"""A home in which `nightshift up` runs, killed and started again, and what its two servers say."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos.forks import Forks
from benchmarks.noon import zone_at_noon

HOST = "127.0.0.1"
# A run whose process is gone must be ended by then; with a machine that does other work too.
LONGEST_RUNNING_S = 180.0
_LONGEST_S = 900.0
_POLL_S = 0.1
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class ChaosError(Exception):
    """Something that must not be was seen."""


def until(found: Callable[[], Any], *, what: str, longest: float = _LONGEST_S) -> Any:
    """Ask until the answer is true; returns it."""
    deadline = time.monotonic() + longest
    while not (answer := found()):
        if time.monotonic() > deadline:
            raise ChaosError(f"{what}: not within {longest:.0f} s")
        time.sleep(_POLL_S)
    return answer


class House:
    """`nightshift up` in the folder `home`, its children forked; `up` again after it has died."""

    def __init__(self, home: Path, forks: Forks, *, template: Path | None = None) -> None:
        self.home = home
        self._forks = forks
        if template is not None:
            shutil.copytree(template, home)
        home.mkdir(parents=True, exist_ok=True)
        self.prefect, self.mlflow = _free_port(), _free_port()
        self._up: subprocess.Popen[bytes] | None = None
        self.output = home / "up.txt"

    def up(self) -> None:
        """Start, and wait until the servers, the worker and the deployments are there."""
        # The night is started again by `start_night`, so that it is known which run is waited for.
        ports = ["--no-catch-up", "--prefect-port", str(self.prefect), "--mlflow-port", str(self.mlflow)]
        with self.output.open("wb") as output:
            self._up = subprocess.Popen(
                [str(self._forks.python), "-m", "deployments.cli", "up", *ports],
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until(self._is_ready, what=f"nightshift up in {self.home}")

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in self._forks.environment.items()
            if not name.startswith(("PREFECT_", "MLFLOW_T"))
        }
        return kept | {"NIGHTSHIFT_HOME": str(self.home), "NIGHTSHIFT_ZONE": zone_at_noon()}

    def _is_ready(self) -> bool:
        assert self._up is not None
        if self._up.poll() is not None:
            raise ChaosError(f"nightshift up ended with {self._up.returncode}:\n{self.output.read_text()}")
        return "Ctrl-C" in self.output.read_text()

    def is_up(self) -> bool:
        """Whether `nightshift up` still runs."""
        return self._up is not None and self._up.poll() is None

    def wait_for_its_end(self, *, longest: float) -> bool:
        """Whether it ended within so many seconds."""
        assert self._up is not None
        try:
            self._up.wait(longest)
        except subprocess.TimeoutExpired:
            return False
        return True

    def down(self) -> None:
        """Ctrl-C."""
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
            self._up.wait(60)

    def processes(self) -> list[dict[str, Any]]:
        """The processes of this home."""
        return [one for one in self._forks.processes() if one["home"] == str(self.home)]

    def ask(self, path: str, body: Any = None) -> Any:
        """The Prefect server's answer; None while it does not answer."""
        return _ask(f"http://{HOST}:{self.prefect}/api/{path}", body)

    def start_night(self, config: dict[str, Any]) -> str:
        """Have the worker run the deployment `nightly` now; returns the flow run's id."""
        deployment = until(lambda: self.ask("deployments/name/nightly/nightly"), what="the deployment")["id"]
        run = until(
            lambda: self.ask(f"deployments/{deployment}/create_flow_run", {"parameters": {"config": config}}),
            what="a flow run",
        )
        return str(run["id"])

    def state(self, run: str) -> str | None:
        """The type of a flow run's state; None while the server does not answer."""
        found = self.ask(f"flow_runs/{run}")
        return str(found["state"]["type"]) if found else None

    def open_runs(self) -> list[dict[str, Any]]:
        """Flow runs that are neither at their end nor planned for later."""
        body = {"flow_runs": {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}}
        found: list[dict[str, Any]] = until(lambda: self.ask("flow_runs/filter", body) is not None, what="runs") and (
            self.ask("flow_runs/filter", body)
        )
        return found

    def taken_slots(self) -> dict[str, float]:
        """Concurrency limits of which slots are taken, by name."""
        found = until(lambda: self.ask("v2/concurrency_limits/filter", {}), what="concurrency limits")
        return {one["name"]: one["active_slots"] for one in found if one["active_slots"]}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _ask(url: str, body: Any) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  (the address is our own server's)
        url, data=data, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310
            return json.load(reply)
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            return None  # as Prefect's own clients do, it is asked again
        raise ChaosError(f"{url}: {error.code} {error.read()[:300]!r}") from None
    except OSError:
        return None


def kill(pid: int) -> bool:
    """SIGKILL; False when it is gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True
