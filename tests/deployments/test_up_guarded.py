"""`nightshift up --host`: beyond loopback nobody gets an answer without a password, and those who have it work on."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from rest import TIMEOUT_S, poll
from running_up import Up, environment

from deployments.access import PREFECT_AUTH, check_host, make_access
from deployments.environment import answers
from deployments.prefect_api import ask
from deployments.processes import ServerError

# Loopback as well, so that nothing leaves this machine, and yet not the address that needs no password.
HOST = "127.0.0.2"
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in paths if path))
        running = Up.start(tmp_path_factory.mktemp("guarded"), "--host", HOST, host=HOST)
        try:
            running.lines = running.wait_until_ready()  # type: ignore[attr-defined]
            yield running
        finally:
            running.end()


def passwords(up: Up) -> dict[str, str]:
    found: dict[str, str] = json.loads((up.home / "access" / "passwords.json").read_text())
    return found


def answer(url: str, *, method: str = "GET", auth: str | None = None, **headers: str) -> tuple[int, str]:
    if auth is not None:
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    body = None if method == "GET" else b"{}"
    asked = urllib.request.Request(
        url, data=body, method=method, headers={"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(asked, timeout=60) as reply:
            return reply.status, reply.headers.get("Access-Control-Allow-Origin", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Access-Control-Allow-Origin", "")


@slow
def test_without_a_password_neither_server_answers(up: Up) -> None:
    refused = [
        ("GET", f"{up.prefect}/api/admin/settings"),
        ("GET", f"{up.prefect}/api/csrf-token?client=x"),
        ("POST", f"{up.prefect}/api/flow_runs/filter"),
        ("POST", f"{up.prefect}/api/deployments/filter"),
        ("GET", f"{up.mlflow}/"),
        ("GET", f"{up.mlflow}/version"),
        ("GET", f"{up.mlflow}/ajax-api/2.0/mlflow/experiments/get?experiment_id=0"),
        ("POST", f"{up.mlflow}/api/2.0/mlflow/experiments/search"),
        ("POST", f"{up.mlflow}/graphql"),
        ("GET", f"{up.mlflow}/signup"),
    ]
    for method, url in refused:
        assert answer(url, method=method)[0] in (401, 403), url
        assert answer(url, method=method, auth="nightshift:password1234")[0] in (401, 403), url
        assert answer(url, method=method, auth="admin:password1234")[0] in (401, 403), url


@slow
def test_another_name_and_the_pages_of_others_are_refused(up: Up) -> None:
    secret = passwords(up)
    experiments = f"{up.mlflow}/api/2.0/mlflow/experiments/get?experiment_id=0"
    mlflow = {"auth": f"nightshift:{secret['mlflow']}"}
    assert answer(experiments, **mlflow)[0] == 200
    assert answer(experiments, Host="evil.example", **mlflow)[0] == 403
    search = f"{up.mlflow}/api/2.0/mlflow/experiments/search"
    assert answer(search, method="POST", Origin="http://evil.example", **mlflow)[0] == 403
    prefect = {"auth": f"nightshift:{secret['prefect']}"}
    # Prefect answers, and the browser keeps it from a page that is not named in the answer.
    assert answer(f"{up.prefect}/api/admin/version", Origin="http://evil.example", **prefect) == (200, "")
    assert answer(f"{up.prefect}/api/admin/version", Origin=up.prefect, **prefect) == (200, up.prefect)
    # What changes something needs a token that other pages cannot get.
    assert answer(f"{up.prefect}/api/flow_runs/filter", method="POST", **prefect)[0] == 403


@slow
def test_a_flow_run_through_the_worker_is_let_in_by_both_servers(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFECT_AUTH, f"nightshift:{passwords(up)['prefect']}")
    api = f"{up.prefect}/api"
    flow = ask(api, "POST", "flows/", {"name": "ask-both"})["id"]
    body = {"name": "x", "flow_id": flow, "work_pool_name": "nightshift", "entrypoint": "guarded_flow.ask_both"}
    deployment = ask(api, "POST", "deployments/", body | {"pull_steps": []})["id"]
    run = ask(api, "POST", f"deployments/{deployment}/create_flow_run", {})["id"]
    final = {"COMPLETED", "FAILED", "CRASHED"}
    state = poll(lambda: (s := ask(api, "GET", f"flow_runs/{run}")["state"])["type"] in final and s)
    assert state["type"] == "COMPLETED", state


@slow
def test_commands_in_another_terminal_are_let_in(up: Up) -> None:
    command = [sys.executable, "-m", "deployments.cli", "models"]
    done = subprocess.run(command, env=environment(up.home), capture_output=True, text=True, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    assert "There are no champions yet" in done.stdout


@slow
def test_passwords_are_in_two_files_that_only_we_may_read_and_nowhere_else(up: Up) -> None:
    secret = [value.encode() for value in passwords(up).values()]
    holding = {
        path for path in up.home.rglob("*") if path.is_file() and any(one in path.read_bytes() for one in secret)
    }
    assert {path.name for path in holding} == {"passwords.json", "mlflow.ini"}
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
    assert (up.home / "access").stat().st_mode & 0o777 == 0o700
    lines = " ".join(part for one in psutil.Process(up.process.pid).children(recursive=True) for part in one.cmdline())
    shown = lines.encode() + " ".join(up.lines).encode()  # type: ignore[attr-defined]
    assert not any(one in shown for one in secret)


@slow
def test_a_server_that_is_started_again_asks_for_the_same_password(up: Up) -> None:
    server = next(one for one in psutil.Process(up.process.pid).children() if "mlflow" in one.cmdline())
    server.kill()
    poll(lambda: not answers(f"{up.mlflow}/health"))
    poll(lambda: answers(f"{up.mlflow}/health"))
    experiment = f"{up.mlflow}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert answer(experiment)[0] == 401
    assert answer(experiment, auth=f"nightshift:{passwords(up)['mlflow']}")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "::1"])
def test_an_address_that_no_browser_opens_is_refused(host: str) -> None:
    with pytest.raises(ServerError, match="--host"):
        check_host(host)


def test_passwords_are_made_once_and_differ_from_home_to_home(tmp_path: Path) -> None:
    first, again, other = make_access(tmp_path / "a"), make_access(tmp_path / "a"), make_access(tmp_path / "b")
    assert first == again
    assert {first.prefect, first.mlflow, first.mlflow_key}.isdisjoint({other.prefect, other.mlflow, other.mlflow_key})
    assert len(first.prefect) > 40
