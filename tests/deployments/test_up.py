"""`nightshift up` for real: servers that answer, a schedule that schedules, and nothing left behind at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from rest import TIMEOUT_S, fetch, free_port, poll

pytestmark = pytest.mark.slow


@dataclass
class Up:
    """A running `nightshift up`."""

    process: subprocess.Popen[str]
    home: Path
    prefect: str
    mlflow: str

    @classmethod
    def start(cls, home: Path) -> Up:
        ports = free_port(), free_port()
        command = [sys.executable, "-m", "deployments.cli", "up"]
        command += ["--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1])]
        process = subprocess.Popen(
            command, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return cls(process, home, *(f"http://127.0.0.1:{port}" for port in ports))

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
    return kept | {"NIGHTSHIFT_HOME": str(home)}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `up` for the tests that only look, and at last for the one that ends it."""
    running = Up.start(tmp_path_factory.mktemp("up"))
    try:
        running.lines = running.wait_until_ready()  # type: ignore[attr-defined]
        yield running
    finally:
        running.end()


def test_it_prints_two_addresses_that_answer(up: Up) -> None:
    shown = " ".join(up.lines)  # type: ignore[attr-defined]
    assert up.prefect in shown
    assert up.mlflow in shown
    assert fetch(f"{up.prefect}/api/health") is not None
    assert fetch(f"{up.mlflow}/health") == "OK"
    assert "<html" in fetch(f"{up.prefect}/").lower()
    assert "<html" in fetch(f"{up.mlflow}/").lower()


def test_the_nightly_schedule_leads_to_a_scheduled_run(up: Up) -> None:
    # With SQLAlchemy 2.1 the server starts, the deployment shows its schedule, and no run is ever planned.
    body = {"deployments": {"name": {"any_": ["nightly"]}}, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    runs = poll(lambda: fetch(f"{up.prefect}/api/flow_runs/filter", body))
    assert {run["expected_start_time"][11:16] for run in runs} == {"03:30"}


def test_every_family_has_a_deployment_whose_form_is_filled_in(up: Up) -> None:
    found = {one["name"]: one for one in fetch(f"{up.prefect}/api/deployments/filter", {})}
    by_hand = {"rollback", "promote", "batch-predict", "evaluate"}
    retraining = {"nightly", "retrain-generation", "retrain-translation", "retrain-classification"}
    assert set(found) == retraining | by_hand
    assert not any(found[name]["schedules"] for name in by_hand)
    for name, deployment in found.items():
        if name in by_hand:
            continue
        config = deployment["parameters"]["config"]
        assert config["families"] if name == "nightly" else config["family"] == name.removeprefix("retrain-")


def test_runs_whose_process_is_gone_are_ended_by_the_server(up: Up) -> None:
    (automation,) = fetch(f"{up.prefect}/api/automations/filter", {})
    assert (automation["enabled"], automation["trigger"]["within"]) == (True, 90)


def test_commands_in_another_terminal_use_the_servers(up: Up) -> None:
    script = (
        "import os; from deployments import environment; environment.prepare();"
        "print(os.environ['PREFECT_API_URL'], os.environ['MLFLOW_TRACKING_URI'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(up.home), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"{up.prefect}/api", up.mlflow]


def test_a_webhook_that_is_no_address_is_refused_before_anything_starts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_WEBHOOK", "hooks.example.org")
    _, errors = Up.start(tmp_path).process.communicate(timeout=TIMEOUT_S)
    assert errors.startswith("error: NIGHTSHIFT_WEBHOOK does not start with https://")


def test_a_second_up_in_the_same_home_is_refused(up: Up) -> None:
    second = Up.start(up.home)
    _, errors = second.process.communicate(timeout=TIMEOUT_S)
    assert second.process.returncode == 2
    assert "another `nightshift up` is running" in errors


def test_ctrl_c_ends_everything_that_was_started(up: Up) -> None:
    assert_ended_by(signal.SIGINT, up)


@pytest.fixture
def home(up: Up) -> Path:
    """The home of the `up` above, which is over: a new home's databases take many seconds to make."""
    up.end()
    return up.home


def test_sigterm_ends_everything_that_was_started(home: Path) -> None:
    running = Up.start(home)
    running.wait_until_ready()
    assert_ended_by(signal.SIGTERM, running)


def assert_ended_by(number: signal.Signals, running: Up) -> None:
    assert (running.home / "servers.json").exists()
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert len(children) >= 3
    running.process.send_signal(number)
    running.process.communicate(timeout=TIMEOUT_S)
    assert running.process.returncode == 0
    assert survivors(children) == []
    assert not (running.home / "servers.json").exists()


def test_when_a_server_dies_the_rest_is_stopped_and_it_is_named(home: Path) -> None:
    running = Up.start(home)
    running.wait_until_ready()
    children = psutil.Process(running.process.pid).children(recursive=True)
    next(child for child in children if "mlflow" in child.cmdline() and child.ppid() == running.process.pid).kill()
    _, errors = running.process.communicate(timeout=TIMEOUT_S)
    assert running.process.returncode == 2
    assert "error: the MLflow server stopped with exit code -9" in errors
    assert str(home / "logs" / "mlflow.log") in errors
    assert survivors(children) == []
