"""A running `nightshift up`, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from rest import TIMEOUT_S, free_port

from benchmarks.noon import zone_at_noon


@dataclass
class Up:
    """A running `nightshift up`."""

    process: subprocess.Popen[str]
    home: Path
    prefect: str
    mlflow: str

    @classmethod
    def start(
        cls, home: Path, *options: str, host: str = "127.0.0.1", variables: Mapping[str, str] | None = None
    ) -> Up:
        ports = free_port(), free_port()
        command = [sys.executable, "-m", "deployments.cli", "up"]
        command += ["--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]), *options]
        surroundings = environment(home) | dict(variables or {})
        process = subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return cls(process, home, *(f"http://{host}:{port}" for port in ports))

    def wait_until_ready(self) -> list[str]:
        """The lines that it prints when all is up."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line.rstrip())
            if line.startswith("Ctrl-C"):
                return lines
        raise AssertionError(self.process.communicate()[1])

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=TIMEOUT_S)


def survivors(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; one that its new parent has not yet waited for is dead all the same."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    return kept | {"NIGHTSHIFT_HOME": str(home), "NIGHTSHIFT_ZONE": zone_at_noon()}
