"""`nightshift up` for real: servers that answer, a schedule that schedules, and nothing left behind at the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import planted
import psutil
import pytest
from closed_terminal import on_a_terminal
from playwright.sync_api import Page, expect
from prefect_pages import (
    CHROMIUM,
    PICTURES,
    Form,
    browser_page,
    cancel,
    open_artifact,
    picture,
    wait_for_state,
)
from rest import TIMEOUT_S, fetch, free_port, poll
from running_up import Up, environment, survivors

from deployments.environment import answers
from flows.nights import schedule_zone
from llm.families import FAMILIES, load_family
from llm.files import read_json, sha256_of
from llm.recipe import Recipe

pytestmark = pytest.mark.slow
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
# Continuous integration has a browser, and must notice when it has not.
in_browser = pytest.mark.skipif(
    CHROMIUM is None and "NIGHTSHIFT_CI" not in os.environ, reason="chromium is not installed (.ci/chromium does it)"
)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One `up` for the tests that only look, and at last for the one that ends it."""
    running = Up.start(tmp_path_factory.mktemp("up"), variables=planted.ENVIRONMENT)
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
    deployment = fetch(f"{up.prefect}/api/deployments/name/nightly/nightly")
    zone = schedule_zone(deployment)
    assert zone.key.startswith("Etc/GMT")
    starts = {datetime.fromisoformat(run["expected_start_time"]).astimezone(zone) for run in runs}
    assert {f"{start:%H:%M}" for start in starts} == {"04:30"}


def test_every_family_has_a_deployment_whose_form_is_filled_in(up: Up) -> None:
    found = {one["name"]: one for one in fetch(f"{up.prefect}/api/deployments/filter", {})}
    by_hand = {"rollback", "promote", "batch-predict", "evaluate"}
    retraining = {f"retrain-{name}{preset}" for name in FAMILIES for preset in ("", "-quick", "-smoke")}
    assert set(found) == {"nightly"} | retraining | by_hand
    assert not any(found[name]["schedules"] for name in by_hand)
    for name, deployment in found.items():
        if name in by_hand:
            continue
        config = deployment["parameters"]["config"]
        assert config["families"] if name == "nightly" else config["family"] == name.split("-")[1]


def form_of(page: Page, up: Up, rows: Path) -> Form:
    """A form with a corpus of one's own in place of a download, for one thread."""
    form = Form(page, up.prefect, "retrain-classification-smoke")
    form.read_json_lines(rows, columns='{"text": "text", "label": "label"}')
    form.fill({"Validation": 0.2, "Test": 0.2, "Threads": 1})
    return form


@in_browser
def test_in_browser_a_person_fills_the_form_watches_the_run_and_follows_it_to_the_version(
    up: Up, toy_rows: Path
) -> None:
    with browser_page() as page:
        form = form_of(page, up, toy_rows)
        form.fill({"Steps": 0})
        # What the browser says at the field, in place of submitting it.
        assert form.field("Steps").evaluate("field => field.validationMessage")
        form.fill({"Steps": 40, "Validate Every": 20})
        picture(page, "form")
        run = form.start()
        wait_for_state(page, "Completed")
        open_artifact(page, "retrain-classification")
        expect(page.get_by_role("heading", name="classification: version 1 promoted")).to_be_visible()
        page.get_by_role("link", name="MLflow run").click()
        expect(page).to_have_url(re.compile(f"^{re.escape(up.mlflow)}/"))
        expect(page.locator("a[href='#/models/classification/versions/1']").first).to_be_visible()
        picture(page, "version")
        back = page.get_by_role("link", name=run).first.get_attribute("href")
        assert back is not None
        page.goto(back)
        expect(page.get_by_text("Completed", exact=True).first).to_be_visible()
        picture(page, "completed")


@in_browser
def test_in_browser_a_cancelled_run_is_gone_in_seconds_and_leaves_a_checkpoint(up: Up, toy_rows: Path) -> None:
    with browser_page() as page:
        form = form_of(page, up, toy_rows)
        form.fill({"Steps": 100_000, "Validate Every": 200})
        run = form.start()
        folder = poll(lambda: list(up.home.glob("stages/training/.partial-*/checkpoints/step-*")))[0].parent
        wait_for_state(page, "Running")
        family = psutil.Process(up.process.pid).children(recursive=True)
        training = [one for one in family if one.environ().get("PREFECT__FLOW_RUN_ID") == run]
        assert training
        cancel(page)
        assert survivors(psutil.wait_procs(training, timeout=15)[1]) == []
        newest = max(folder.glob("step-*"))
        assert sha256_of(newest / "state.safetensors") == read_json(newest / "state.json")["sha256"]
        # Without a word from us, Prefect takes the end of the process for a crash.
        assert fetch(f"{up.prefect}/api/flow_runs/{run}")["state"]["type"] in ("CANCELLING", "CANCELLED")
        if PICTURES in os.environ:
            wait_for_state(page, "Cancelled")
            picture(page, "cancelled")


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


def test_no_secret_of_the_environment_is_on_a_page_or_in_what_was_written(up: Up) -> None:
    # After the runs of the browser, where there is one.
    assert planted.found_in_pages(up.prefect, up.mlflow) == {}
    assert planted.found_under(up.home) == {}
    children = psutil.Process(up.process.pid).children(recursive=True)
    assert planted.found_in(" ".join(part for child in children for part in child.cmdline())) == []


def test_ctrl_c_ends_everything_that_was_started(up: Up) -> None:
    assert_ended_by(signal.SIGINT, up)


@pytest.fixture
def home(up: Up) -> Path:
    """The home of the `up` above, which is over: a new home's databases take many seconds to make."""
    up.end()
    return up.home


NIGHTS = """
finish_by: 06:00
families:
- family: translation
  preset: quick
"""


def test_a_file_says_what_the_nights_do_until_another_does(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "nights.yaml"
    file.write_text(NIGHTS)
    for options in (["--config", str(file)], []):
        running = Up.start(home, *options)
        try:
            told = [line for line in running.wait_until_ready() if line.startswith("kept")]
            wanted = {"deployments": {"name": {"any_": ["nightly"]}}}
            [deployment] = fetch(f"{running.prefect}/api/deployments/filter", wanted)
        finally:
            running.end()
        nights = deployment["parameters"]["config"]
        assert (nights["finish_by"], [one["family"] for one in nights["families"]]) == ("06:00", ["translation"])
        assert (
            nights["families"][0]["training"]["steps"] == load_family("translation").presets()["quick"].training.steps
        )
        assert len(told) == (0 if options else 1)


def test_a_file_that_is_wrong_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "nights.yaml"
    file.write_text(NIGHTS.replace("quick", "quik"))
    _, errors = Up.start(tmp_path, "--config", str(file)).process.communicate(timeout=TIMEOUT_S)
    assert errors.splitlines()[0] == f"error: {file}: entry 1 of families: translation has no preset 'quik'"


def test_sigterm_ends_everything_that_was_started_though_it_is_sent_again_and_again(home: Path) -> None:
    running = Up.start(home)
    running.wait_until_ready()
    assert_ended_by(signal.SIGTERM, running, again=(signal.SIGTERM, signal.SIGINT))


def test_a_terminal_that_is_closed_ends_everything_that_was_started(home: Path) -> None:
    ports = "--prefect-port", str(free_port()), "--mlflow-port", str(free_port())
    command = [sys.executable, "-m", "deployments.cli", "up", *ports]
    with on_a_terminal(command, environment=environment(home)) as terminal:
        terminal.read_until(lambda shown: "Ctrl-C" in shown)
        children = psutil.Process(terminal.process.pid).children(recursive=True)
        assert len(children) >= 3
        terminal.close()
        assert terminal.process.wait(TIMEOUT_S) == 0
    assert survivors(children) == []
    assert not (home / "servers.json").exists()


def assert_ended_by(number: signal.Signals, running: Up, *, again: Sequence[signal.Signals] = ()) -> None:
    assert (running.home / "servers.json").exists()
    children = psutil.Process(running.process.pid).children(recursive=True)
    assert len(children) >= 3
    running.process.send_signal(number)
    [worker] = [child for child in children if "worker" in child.cmdline()]
    worker.wait(TIMEOUT_S)  # it is stopped first
    for later in again:
        running.process.send_signal(later)
    running.process.communicate(timeout=TIMEOUT_S)
    assert running.process.returncode == 0
    assert survivors(children) == []
    assert not (running.home / "servers.json").exists()


@pytest.mark.chaos
def test_a_server_that_dies_again_and_again_is_started_again_each_time(home: Path) -> None:
    running = Up.start(home)
    running.wait_until_ready()
    dead: set[int] = set()
    for _ in range(4):
        server = poll(lambda: next((one for one in mlflow_servers(running) if one.pid not in dead), None))
        dead.add(server.pid)
        server.kill()
    poll(lambda: len(mlflow_servers(running)) == 1 and answers(f"{running.mlflow}/health"))
    children = psutil.Process(running.process.pid).children(recursive=True)
    running.process.send_signal(signal.SIGINT)
    told, _ = running.process.communicate(timeout=TIMEOUT_S)
    assert running.process.returncode == 0
    assert [line for line in told.splitlines() if "stopped with" in line] == [
        f"the MLflow server stopped with exit code -9: started again in {seconds} s" for seconds in (1, 2, 4, 8)
    ]
    assert survivors(children) == []


@pytest.mark.chaos
def test_a_night_whose_worker_dies_is_over_and_by_itself_run_again(home: Path, toy_recipe: Recipe) -> None:
    running = Up.start(home)
    running.wait_until_ready()
    try:
        night = start_night(running, toy_recipe)
        [worker] = (one for one in psutil.Process(running.process.pid).children() if "worker" in one.cmdline())
        ran = poll(lambda: [one for one in worker.children(recursive=True) if runs(one, night["id"])])
        worker.kill()
        assert poll(lambda: state_of(running, night["id"]) in ENDED)
        assert state_of(running, night["id"]) == "CRASHED"
        assert survivors(psutil.wait_procs(ran, timeout=TIMEOUT_S)[1]) == []
        [again] = poll(lambda: [run for run in runs_due_with(running, night) if run["id"] != night["id"]])
        assert poll(lambda: state_of(running, again["id"]) in ENDED)
        assert state_of(running, again["id"]) == "COMPLETED"
    finally:
        running.end()


def start_night(running: Up, recipe: Recipe) -> dict[str, Any]:
    training = recipe.training.model_copy(update={"steps": 4, "warmup": 1})
    config = {"families": [recipe.model_copy(update={"training": training}).model_dump(mode="json")]}
    deployment = fetch(f"{running.prefect}/api/deployments/name/nightly/nightly")["id"]
    address = f"{running.prefect}/api/deployments/{deployment}/create_flow_run"
    made: dict[str, Any] = fetch(address, {"parameters": {"config": config}})
    return made


def runs_due_with(running: Up, run: dict[str, Any]) -> list[dict[str, Any]]:
    body = {"flow_runs": {"deployment_id": {"any_": [run["deployment_id"]]}}}
    found = fetch(f"{running.prefect}/api/flow_runs/filter", body)
    return [one for one in found if one["expected_start_time"] == run["expected_start_time"]]


def runs(process: psutil.Process, run: str) -> bool:
    return bool(process.environ().get("PREFECT__FLOW_RUN_ID") == run)


def state_of(running: Up, run: str) -> str:
    return str(fetch(f"{running.prefect}/api/flow_runs/{run}")["state"]["type"])


def mlflow_servers(running: Up) -> list[psutil.Process]:
    found = psutil.Process(running.process.pid).children()
    return [one for one in survivors(found) if "mlflow" in one.cmdline()]
