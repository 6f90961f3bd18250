"""Child processes: what they say when they die, and that stopping one leaves nothing behind."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deployments.processes import ChildProcess, ServerError
from deployments.servers import Ports, check_port, server_environment, wait_until

# A child that starts a grandchild in a session of its own, as Prefect's worker does with flow runs. The grandchild
# ignores SIGTERM; both say that they are ready.
FAMILY = """
import subprocess, sys, time
grandchild = "import signal, time; signal.signal(15, signal.SIG_IGN); print('', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", grandchild], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print("grandchild", child.pid, flush=True)
time.sleep(600)
"""


def start(script: str, log: Path) -> ChildProcess:
    return ChildProcess("the example", [sys.executable, "-c", script], environment=os.environ, log=log)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "example.log"


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_child_that_dies_is_named_with_its_exit_code_and_the_end_of_its_log(log: Path) -> None:
    child = start("print('could not open the database'); raise SystemExit(3)", log)
    with pytest.raises(ServerError) as caught:
        wait_until(lambda: False, child, timeout=60)
    assert "the example stopped with exit code 3" in caught.value.problem
    assert "could not open the database" in caught.value.problem
    assert str(log) in caught.value.remedy
    child.stop()


def test_a_child_that_never_gets_ready_is_given_up(log: Path) -> None:
    child = start("import time; time.sleep(600)", log)
    try:
        with pytest.raises(ServerError, match="did not answer within 0 s"):
            wait_until(lambda: False, child, timeout=0.0)
    finally:
        child.stop()


def test_stopping_a_child_also_ends_what_it_started_in_another_session(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.processes._GRACE_S", 1.0)
    child = start(FAMILY, log)
    wait_until(lambda: "grandchild" in log.read_text(), child, timeout=60)
    grandchild = psutil.Process(int(log.read_text().split()[1]))
    child.stop()
    assert not psutil.pid_exists(child.pid)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_stopping_a_child_that_is_gone_already_is_no_error(log: Path) -> None:
    child = start("pass", log)
    with pytest.raises(ServerError):
        wait_until(lambda: False, child, timeout=60)
    child.stop()
    child.stop()


def test_a_port_that_is_taken_is_refused_with_the_option_that_changes_it(taken_port: int) -> None:
    with pytest.raises(ServerError) as caught:
        check_port(taken_port, option="--mlflow-port")
    assert f"port {taken_port} on 127.0.0.1 cannot be used" in caught.value.problem
    assert "--mlflow-port" in caught.value.remedy


def test_the_servers_environment_keeps_the_page_and_the_api_on_one_port() -> None:
    found = server_environment({"PATH": "/bin"}, Ports(prefect=4321, mlflow=5432))
    assert found["PATH"] == "/bin"
    assert found["PREFECT_API_URL"] == found["PREFECT_SERVER_UI_API_URL"] == "http://127.0.0.1:4321/api"
    assert found["MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5432"
    assert "*" not in found["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"]
