"""`mlflow models serve` on loopback, started by a given Python, for tests."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from llm.serving.server import open_port

LONGEST_S = 180.0


@contextmanager
def mlflow_serves(model: str, python: Path | str, environment: Mapping[str, str], *, folder: Path) -> Iterator[int]:
    """Inside, `python` serves the model; gives the port. Its log is in `folder`, where it runs."""
    with open_port(0) as probe:
        port: int = probe.getsockname()[1]
    command = [str(python), "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    # As in a venv of its own: MLflow starts `uvicorn` by its name, and no code of this checkout is to be found.
    path = f"{Path(python).parent}{os.pathsep}{environment['PATH']}"
    kept = {name: value for name, value in environment.items() if name != "PYTHONPATH"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--host", "127.0.0.1"],
            env=kept | {"PATH": path, "PYTHONSAFEPATH": "1"},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(port, process, folder / "log")
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(LONGEST_S)


def wait_until_up(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    pause, deadline = threading.Event(), time.monotonic() + LONGEST_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
        try:
            connection.request("GET", "/ping")
            assert connection.getresponse().status == 200
            return
        except ConnectionError:
            pause.wait(0.25)
        finally:
            connection.close()
