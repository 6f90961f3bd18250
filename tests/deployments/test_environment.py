"""Environment defaults: set in one place, once asked for, never over the user's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from deployments import environment


class Healthy(BaseHTTPRequestHandler):
    """Answers 200 to the two health addresses, 404 to the rest."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path in {"/api/health", "/health"} else 404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a small HTTP server on loopback."""
    with HTTPServer(("127.0.0.1", 0), Healthy) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@pytest.fixture
def clean_environment(own_environment: None, nightshift_home: Path) -> Path:
    """No variable of ours is set but the home."""
    for name in environment.defaults(nightshift_home):
        os.environ.pop(name, None)
    return nightshift_home


def write_servers(home: Path, **addresses: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / environment.SERVERS_FILE).write_text(json.dumps(addresses))


def test_defaults_are_set_and_prefect_gets_a_home_inside_ours(clean_environment: Path) -> None:
    environment.prepare()
    assert os.environ["PREFECT_HOME"] == str(clean_environment / "prefect")
    assert (clean_environment / "prefect").is_dir()
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "true"


def test_what_the_user_has_set_stays(clean_environment: Path) -> None:
    os.environ["PREFECT_HOME"] = "/somewhere/else"
    environment.prepare()
    assert os.environ["PREFECT_HOME"] == "/somewhere/else"


def test_the_home_becomes_absolute_for_processes_that_start_elsewhere(
    clean_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.environ["NIGHTSHIFT_HOME"] = "relative"
    environment.prepare()
    assert os.environ["NIGHTSHIFT_HOME"] == str(tmp_path / "relative")


def test_importing_the_module_sets_nothing() -> None:
    script = "import os; before = dict(os.environ); import deployments.environment; print(before == dict(os.environ))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_running_servers_are_used(clean_environment: Path, server: str) -> None:
    write_servers(clean_environment, prefect=server, mlflow=server)
    environment.prepare()
    assert os.environ["PREFECT_API_URL"] == f"{server}/api"
    assert os.environ["MLFLOW_TRACKING_URI"] == server


def test_passwords_are_for_the_servers_that_were_made_for_them(clean_environment: Path, server: str) -> None:
    write_servers(clean_environment, prefect=server, mlflow=server, access="yes")
    (clean_environment / "access").mkdir()
    (clean_environment / "access" / "passwords.json").write_text('{"prefect": "p", "mlflow": "m", "mlflow_key": "k"}')
    os.environ["MLFLOW_TRACKING_URI"] = "https://mlflow.example.org"
    environment.prepare()
    assert os.environ["PREFECT_API_AUTH_STRING"] == "nightshift:p"
    assert "MLFLOW_TRACKING_PASSWORD" not in os.environ
    del os.environ["MLFLOW_TRACKING_URI"]
    environment.prepare()
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "m"


def test_servers_that_do_not_answer_are_not_used(clean_environment: Path) -> None:
    # Port 9 (discard) on loopback: nothing listens there.
    write_servers(clean_environment, prefect="http://127.0.0.1:9", mlflow="http://127.0.0.1:9")
    environment.prepare()
    assert "PREFECT_API_URL" not in os.environ
    assert "MLFLOW_TRACKING_URI" not in os.environ


@pytest.mark.parametrize("content", ["", "{", "{}", '{"prefect": "file:///etc/passwd"}'])
def test_a_damaged_servers_file_is_ignored(clean_environment: Path, content: str) -> None:
    clean_environment.mkdir(parents=True)
    (clean_environment / environment.SERVERS_FILE).write_text(content)
    environment.prepare()
    assert "PREFECT_API_URL" not in os.environ


def test_the_logging_settings_exist_and_name_our_rooms() -> None:
    settings = Path(environment.defaults(Path("home"))["PREFECT_LOGGING_SETTINGS_PATH"])
    assert settings.is_file()
    text = settings.read_text()
    assert all(f"\n  {room}:\n" in text for room in ("llm", "tasks", "flows"))
