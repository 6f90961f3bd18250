"""What a real Prefect server tells a webhook, and which of its runs `nightshift up` ends."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from queue import Queue
from typing import Any

import pytest
from loopback import QuietHandler, answering
from prefect_serving import prefect_serves
from rest import answer_to, fetch, poll

from deployments.automations import apply_automations, webhook_address
from deployments.leftovers import end_lost_runs, tag
from deployments.processes import ServerError
from deployments.silence import Silence

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API of a Prefect server of its own."""
    with prefect_serves(tmp_path_factory.mktemp("automations")) as api:
        yield api


@pytest.fixture
def webhook() -> Iterator[tuple[str, Queue[tuple[str, bytes]]]]:
    """The address of a server on loopback, and what was POSTed to it."""
    got: Queue[tuple[str, bytes]] = Queue()

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802  (the name that http.server looks for)
            got.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(200)

    with answering(Handler) as address:
        yield f"{address}/hook/s3cret", got


def running(api: str, name: str, *, deployed: bool) -> str:
    """The id of a flow run that is RUNNING, as far as the server knows."""
    flow = fetch(f"{api}/flows/", {"name": "nightly"})["id"]
    body = {"flow_id": flow, "name": name, "state": {"type": "RUNNING"}}
    if not deployed:
        return str(fetch(f"{api}/flow_runs/", body)["id"])
    deployment = fetch(f"{api}/deployments/", {"name": "nightly", "flow_id": flow})["id"]
    run = fetch(f"{api}/deployments/{deployment}/create_flow_run", {"name": name, "state": {"type": "PENDING"}})["id"]
    move(api, run, {"type": "RUNNING"})
    return str(run)


def move(api: str, run: str, state: dict[str, Any]) -> None:
    assert fetch(f"{api}/flow_runs/{run}/set_state", {"state": state})["status"] == "ACCEPT"


def inside(api: str, run: str, name: str) -> str:
    """The id of a RUNNING flow run that `run` started."""
    flow = fetch(f"{api}/flows/", {"name": "retrain"})["id"]
    task = {"flow_run_id": run, "task_key": "retrain", "dynamic_key": name, "state": {"type": "RUNNING"}}
    parent = fetch(f"{api}/task_runs/", task)["id"]
    body = {"flow_id": flow, "name": name, "parent_task_run_id": parent, "state": {"type": "RUNNING"}}
    return str(fetch(f"{api}/flow_runs/", body)["id"])


def beat(api: str, run: str) -> None:
    event = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "id": str(uuid.uuid4()),
    }
    data = json.dumps([event]).encode()
    answer_to(urllib.request.Request(f"{api}/events", data=data, headers={"Content-Type": "application/json"}))


def state(api: str, run: str) -> dict[str, Any]:
    found: dict[str, Any] = fetch(f"{api}/flow_runs/{run}")["state"]
    return found


def automations(api: str) -> list[str]:
    return sorted(one["name"] for one in fetch(f"{api}/automations/filter", {}))


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def look(silence: Silence, clock: Clock, *seconds: int) -> list[str]:
    """The runs that were ended while the clock went on."""
    ended = []
    for clock.now in seconds:
        ended += silence.look()
    return ended


def test_a_run_whose_heartbeats_stop_is_crashed_and_those_that_ended_or_never_gave_one_are_left(api: str) -> None:
    lost, done, mute = (running(api, name, deployed=False) for name in ("lost", "done", "mute"))
    for run in (lost, done):
        beat(api, run)
    move(api, done, {"type": "COMPLETED"})
    clock = Clock()
    silence = Silence(api, clock=clock)
    poll(lambda: silence._beats())
    assert look(silence, clock, *range(0, 60, 10)) == []
    before = silence._beats()
    beat(api, lost)
    poll(lambda: silence._beats() != before)
    assert look(silence, clock, *range(60, 150, 10)) == []
    assert look(silence, clock, *range(150, 180, 10)) == [ended(lost)]
    assert state(api, lost)["message"] == "no sign of life for 90 s: its process is gone, or its machine"
    assert [state(api, run)["type"] for run in (done, mute)] == ["COMPLETED", "RUNNING"]


def test_a_server_that_was_away_ends_no_run_for_the_heartbeats_that_it_did_not_get(api: str) -> None:
    run, clock = running(api, "living", deployed=False), Clock()
    beat(api, run)
    silence = Silence(api, clock=clock)
    poll(lambda: silence._beats())
    assert look(silence, clock, 0, 10, 20) == []
    here, silence._api = silence._api, "http://127.0.0.1:9/api"  # nobody is there
    assert look(silence, clock, *range(30, 330, 10)) == []
    silence._api = here
    assert look(silence, clock, *range(330, 420, 10)) == []
    # Had it died meanwhile, it would be ended as late as this.
    assert look(silence, clock, 420) == [ended(run)]


def ended(run: str) -> str:
    return f"flow run {run} has given no sign of life for 90 s and was marked as crashed"


def test_runs_of_a_process_that_is_gone_are_crashed_with_those_inside_and_others_are_left(api: str) -> None:
    flow = fetch(f"{api}/flows/", {"name": "nightly"})["id"]
    here, gone = tag(), tag().rpartition("/")[0].rpartition("/")[0] + "/999999999/1.0"
    runs = [
        fetch(f"{api}/flow_runs/", {"flow_id": flow, "tags": tags, "state": {"type": "RUNNING"}})["id"]
        for tags in ([here], [gone], [])
    ]
    ended = fetch(f"{api}/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"]
    lost = [runs[1], inside(api, runs[1], "of the lost"), inside(api, ended, "of the ended")]
    move(api, ended, {"type": "CRASHED"})
    left = [runs[0], runs[2], inside(api, runs[0], "of the living")]
    assert end_lost_runs(api) == 3
    assert {state(api, run)["type"] for run in lost} == {"CRASHED"}
    assert {state(api, run)["type"] for run in left} == {"RUNNING"}
    assert end_lost_runs(api) == 0


def test_applied_again_they_are_brought_up_to_date_and_not_doubled(api: str, webhook: Any) -> None:
    address, _ = webhook
    for _ in range(2):
        apply_automations(api, webhook=address)
    assert automations(api) == ["nightshift: tell the webhook how runs ended"]
    apply_automations(api, webhook=None)
    assert automations(api) == []


def test_a_webhook_is_told_in_one_line_how_a_deployed_run_ended_and_its_address_is_not_shown(
    api: str, webhook: Any
) -> None:
    address, got = webhook
    apply_automations(api, webhook="http://127.0.0.1:9/another")
    apply_automations(api, webhook=address)
    part = running(api, "part of a night", deployed=False)
    move(api, part, {"type": "COMPLETED", "message": "not told"})
    night = running(api, 'night "one"', deployed=True)
    move(api, night, {"type": "COMPLETED", "message": "promoted: translation <2>; nothing new: generation"})
    path, body = got.get(timeout=60)
    assert path == "/hook/s3cret"
    first, link = json.loads(body)["text"].split("\n")
    assert first == 'night "one": Completed, promoted: translation <2>; nothing new: generation'
    assert link.endswith(f"/flow-run/{night}")
    assert got.empty()
    shown = json.dumps(fetch(f"{api}/block_documents/filter", {})) + json.dumps(fetch(f"{api}/automations/filter", {}))
    assert "s3cret" not in shown


def test_the_address_is_read_from_the_environment_and_one_that_is_none_is_refused(monkeypatch) -> None:
    monkeypatch.delenv("NIGHTSHIFT_WEBHOOK", raising=False)
    assert webhook_address() is None
    monkeypatch.setenv("NIGHTSHIFT_WEBHOOK", "https://hooks.example.org/x")
    assert webhook_address() == "https://hooks.example.org/x"
    monkeypatch.setenv("NIGHTSHIFT_WEBHOOK", "file:///etc/s3cret")
    with pytest.raises(ServerError, match="NIGHTSHIFT_WEBHOOK does not start with https://") as caught:
        webhook_address()
    assert "s3cret" not in str(caught.value)


def test_a_server_that_refuses_is_quoted_without_what_was_sent(api: str) -> None:
    with pytest.raises(ServerError, match=r"refused GET block_types/slug/webhook \(404\)") as caught:
        apply_automations(f"{api}/nowhere", webhook="https://hooks.example.org/s3cret")
    assert "s3cret" not in str(caught.value)
