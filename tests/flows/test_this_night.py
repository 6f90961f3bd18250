"""The policy of the nights on a real Prefect server: what the flow does at its start, and what `up` does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import State
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Failed, Scheduled

from deployments.crashed_nights import CrashedNights
from deployments.missed_nights import settle_missed_nights
from flows.configuration import NightlyConfig, RetrainConfig
from flows.nightly import nightly

pytestmark = [pytest.mark.slow, pytest.mark.chaos, pytest.mark.usefixtures("prefect_server", "nightshift_home")]

ZONE = "Australia/Lord_Howe"


@pytest.fixture
def client(prefect_server):
    with get_client(sync_client=True) as found:
        yield found


@pytest.fixture
def deployment(client, request, toy_recipe) -> str:
    """A deployment of the nightly flow in a zone, of this test alone; its runs are taken by nobody."""
    config = NightlyConfig(families=[RetrainConfig.model_validate(toy_recipe.model_dump())])
    flow = client.request("POST", "/flows/", json={"name": request.node.name}).json()["id"]
    body = {
        "name": "nightly",
        "flow_id": flow,
        "parameters": {"config": config.model_dump(mode="json")},
        "schedules": [{"schedule": {"cron": "30 4 * * *", "timezone": ZONE}, "active": False}],
    }
    made: str = client.request("POST", "/deployments/", json=body).json()["id"]
    yield made
    client.request("DELETE", f"/deployments/{made}")


@pytest.fixture
def planned(client: SyncPrefectClient, deployment: str) -> Callable[[datetime], Any]:
    def plan(when: datetime) -> Any:
        return client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=when))

    return plan


def last_night() -> datetime:
    """Half past four in the zone, on the last date of which it is over."""
    local = datetime.now(ZoneInfo(ZONE)).replace(hour=4, minute=30, second=0, microsecond=0)
    return local if local < datetime.now(ZoneInfo(ZONE)) else local - timedelta(days=1)


def carry_out(run: Any) -> State[Any]:
    state: State[Any] = run_flow(nightly, flow_run=run, parameters=run.parameters, return_type="state")
    return state


def test_a_second_run_for_a_night_that_was_done_ends_at_once_and_says_so(client, planned):
    done, second = planned(last_night()), planned(last_night() + timedelta(minutes=10))
    client.set_flow_run_state(done.id, Completed(), force=True)
    state = carry_out(second)
    night = last_night().date()
    assert (state.type, state.name) == ("COMPLETED", "Skipped")
    assert state.message == f"skipped: the night of {night} was done by {done.name}"
    assert client.read_flow_run(second.id).state_name == "Skipped"


def test_a_night_that_failed_is_tried_again_by_whoever_starts_it(client, planned, monkeypatch):
    tried = []
    monkeypatch.setattr("flows.nightly.retrain", lambda config, until: tried.append(until) or summary(config))
    failed, second = planned(last_night()), planned(last_night() + timedelta(minutes=10))
    client.set_flow_run_state(failed.id, Failed(), force=True)
    assert carry_out(second).message == "nothing new: classification"
    assert tried == [None]


def test_a_night_whose_hour_is_over_starts_no_family_and_leaves_the_night_open(client, planned):
    run = planned(last_night() - timedelta(days=1))
    config = {**run.parameters["config"], "finish_by": "04:31"}
    state = run_flow(nightly, flow_run=run, parameters={"config": config}, return_type="state")
    assert (state.name, state.message) == ("Skipped", "skipped: no time left: classification")


def summary(config: RetrainConfig) -> dict[str, Any]:
    return {"family": config.family, "decision": "nothing new"}


def test_of_missed_nights_one_is_caught_up_and_the_older_ones_are_told(client, deployment, planned):
    nights = [planned(last_night() - timedelta(days=days)) for days in (2, 1, 0)]
    tomorrow = planned(last_night() + timedelta(days=2))
    said: list[str] = []
    settle_missed_nights(PREFECT_API_URL.value(), catch_up=True, say=said.append)
    states = [client.read_flow_run(run.id).state for run in [*nights, tomorrow]]
    assert [(state.type, state.name) for state in states] == [
        ("CANCELLED", "Skipped"),
        ("CANCELLED", "Skipped"),
        ("SCHEDULED", "Scheduled"),
        ("SCHEDULED", "Scheduled"),
    ]
    assert len(said) == 2
    newest = f"{nights[2].name} is due for the later night of {last_night().date()}"
    assert said[0].endswith(newest)
    settle_missed_nights(PREFECT_API_URL.value(), catch_up=False, say=said.append)
    assert client.read_flow_run(nights[2].id).state.message == f"skipped: the night of {last_night().date()} was missed"
    assert client.read_flow_run(tomorrow.id).state.is_scheduled()
    assert len(said) == 3


def test_a_night_that_crashed_is_planned_again_once_as_it_was(client, deployment, planned):
    crashed = planned(last_night())
    client.set_flow_run_state(crashed.id, Crashed(), force=True)
    clock = count(0.0, 15.0)  # only every second look asks
    watcher = CrashedNights(PREFECT_API_URL.value(), clock=lambda: next(clock))
    [told] = watcher.look()
    [again] = [run for run in runs_of(client, deployment) if run.id != crashed.id]
    night = last_night().date()
    assert told == f"the night of {night} crashed ({crashed.name}), and is run again, once: {again.name}"
    assert again.expected_start_time == crashed.expected_start_time
    assert again.parameters == crashed.parameters
    assert again.state.is_scheduled()
    assert [watcher.look() for _ in range(4)] == [[]] * 4
    client.set_flow_run_state(again.id, Crashed(), force=True)
    assert [watcher.look() for _ in range(4)] == [[]] * 4
    assert len(runs_of(client, deployment)) == 2


def test_a_night_that_is_done_is_not_planned_again_though_a_run_of_it_crashed(client, deployment, planned):
    crashed, done = planned(last_night()), planned(last_night())
    client.set_flow_run_state(crashed.id, Crashed(), force=True)
    client.set_flow_run_state(done.id, Completed(), force=True)
    assert CrashedNights(PREFECT_API_URL.value()).look() == []
    assert len(runs_of(client, deployment)) == 2


def test_a_server_that_is_away_is_asked_again_later():
    assert CrashedNights("http://127.0.0.1:9/api").look() == []


def runs_of(client: SyncPrefectClient, deployment: str) -> list[Any]:
    only = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[UUID(deployment)]))
    return client.read_flow_runs(flow_run_filter=only)


def test_without_a_deployment_nothing_is_skipped_and_the_machine_s_own_zone_counts(monkeypatch, toy_recipe):
    tried = []
    monkeypatch.setattr("flows.nightly.retrain", lambda config, until: tried.append(until) or summary(config))
    config = NightlyConfig(families=[RetrainConfig.model_validate(toy_recipe.model_dump())])
    in_three_hours = (datetime.now() + timedelta(hours=3)).strftime("%H:%M")
    nightly(config)
    nightly(config.model_copy(update={"finish_by": in_three_hours}))
    assert tried[0] is None
    assert timedelta(hours=2) < tried[1] - datetime.now(UTC) < timedelta(hours=3)
