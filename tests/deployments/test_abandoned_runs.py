"""MLflow runs that a dead process left open, closed on a real MLflow server after what a real Prefect server says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect_serving import prefect_serves
from rest import fetch, free_port, poll

from deployments.abandoned_runs import AbandonedRuns
from deployments.addresses import API_VARIABLE, Ports, server_environment
from deployments.environment import answers
from deployments.servers import mlflow_server
from llm.liveness import this_process
from tasks.registry.abandoned import process_tags

pytestmark = pytest.mark.slow

NOBODY = f"{2**22 + 1}/0.0"
CLOSED = "MLflow runs whose process is gone, closed as failed: 1"


class Clock:
    """A clock that goes on by half a minute a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[dict[str, str]]:
    """That of a worker, between a Prefect server and an MLflow server."""
    home = tmp_path_factory.mktemp("abandoned")
    with pytest.MonkeyPatch.context() as patch, prefect_serves(home) as api:
        patch.setenv("NIGHTSHIFT_HOME", str(home))
        for name in ("MLFLOW_TRACKING_URI", "NIGHTSHIFT_ARTIFACTS"):
            patch.delenv(name, raising=False)
        (home / "mlflow").mkdir()
        shutil.copy(migrated_database, home / "mlflow" / "mlflow.db")
        ports = Ports(prefect=0, mlflow=free_port())
        made = server_environment(os.environ, ports) | {API_VARIABLE: api, "NIGHTSHIFT_HOME": str(home)}
        server = mlflow_server(ports, made)
        try:
            poll(lambda: answers(f"{ports.mlflow_url}/health"))
            yield made
        finally:
            server.stop()


@pytest.fixture
def registry(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.setenv("NIGHTSHIFT_HOME", environment["NIGHTSHIFT_HOME"])
    return MlflowClient(environment["MLFLOW_TRACKING_URI"])


def opened(registry: MlflowClient, process: str) -> str:
    """A run of `translation` that a process of this machine has open."""
    found = registry.get_experiment_by_name("translation")
    experiment = found.experiment_id if found else registry.create_experiment("translation")
    return str(registry.create_run(experiment, tags=process_tags() | {"nightshift.process": process}).info.run_id)


def flow_run_that_ends(environment: Mapping[str, str], state: str) -> None:
    api = environment[API_VARIABLE]
    flow = fetch(f"{api}/flows/", {"name": "retrain"})["id"]
    run = fetch(f"{api}/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"]
    body: dict[str, Any] = {"state": {"type": state}, "force": True}
    assert fetch(f"{api}/flow_runs/{run}/set_state", body)["status"] == "ACCEPT"


def looking(environment: Mapping[str, str], clock: Clock) -> AbandonedRuns:
    return AbandonedRuns(environment, settle_s=0.0, clock=clock)


def look(abandoned: AbandonedRuns, clock: Clock) -> list[str]:
    """What the next look has to tell, once what it started is over."""
    clock.now += 30
    told = abandoned.look()
    while abandoned._child is not None:
        abandoned._child.wait()
        told += abandoned.look()
    return told


def test_what_a_power_cut_left_is_closed_at_the_start_though_prefect_knows_of_nothing(
    environment: Mapping[str, str], registry: MlflowClient
) -> None:
    gone, living, clock = opened(registry, NOBODY), opened(registry, this_process()), Clock()
    assert look(looking(environment, clock), clock) == [CLOSED]
    assert [registry.get_run(run).info.status for run in (gone, living)] == ["FAILED", "RUNNING"]


@pytest.mark.parametrize("state", ["CRASHED", "FAILED", "CANCELLED"])
def test_a_flow_run_that_ends_badly_has_its_mlflow_run_closed_by_the_next_look_and_once_only(
    environment: Mapping[str, str], registry: MlflowClient, state: str
) -> None:
    clock = Clock()
    abandoned = looking(environment, clock)
    assert look(abandoned, clock) == []
    gone = opened(registry, NOBODY)
    # Nothing has ended, so that nobody looks.
    assert (look(abandoned, clock), registry.get_run(gone).info.status) == ([], "RUNNING")
    flow_run_that_ends(environment, state)
    assert (look(abandoned, clock), registry.get_run(gone).info.status) == ([CLOSED], "FAILED")
    later = opened(registry, NOBODY)
    assert (look(abandoned, clock), registry.get_run(later).info.status) == ([], "RUNNING")
    registry.set_terminated(later)


def test_a_process_has_time_to_end_after_its_flow_run(environment: Mapping[str, str], registry: MlflowClient) -> None:
    clock = Clock()
    abandoned = AbandonedRuns(environment, settle_s=3600.0, clock=clock)
    assert look(abandoned, clock) == []
    flow_run_that_ends(environment, "FAILED")
    gone = opened(registry, NOBODY)
    assert look(abandoned, clock) == []
    assert registry.get_run(gone).info.status == "RUNNING"
    registry.set_terminated(gone)


def test_an_mlflow_that_is_away_is_told_once_and_asked_again_until_it_is_back(
    environment: Mapping[str, str], registry: MlflowClient
) -> None:
    gone, clock = opened(registry, NOBODY), Clock()
    abandoned = looking(dict(environment) | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, clock)
    told = "MLflow runs that ended flow runs may have left open could not be closed, which is tried again"
    assert look(abandoned, clock) == [f"{told}: MLflow does not answer"]
    assert look(abandoned, clock) == []
    abandoned._environment["MLFLOW_TRACKING_URI"] = environment["MLFLOW_TRACKING_URI"]
    assert look(abandoned, clock) == [CLOSED]
    assert registry.get_run(gone).info.status == "FAILED"


def test_a_registry_that_refuses_and_a_prefect_that_is_away_end_nothing(
    environment: Mapping[str, str], registry: MlflowClient
) -> None:
    gone, clock = opened(registry, NOBODY), Clock()
    # It answers, and is not MLflow.
    prefect = environment[API_VARIABLE]
    abandoned = looking(dict(environment) | {"MLFLOW_TRACKING_URI": prefect}, clock)
    [told] = look(abandoned, clock)
    assert f"MLflow at {prefect} failed while closing the runs of processes that are gone" in told
    abandoned._environment |= {API_VARIABLE: "http://127.0.0.1:9/api"}
    assert look(abandoned, clock) == []
    abandoned._environment |= {name: environment[name] for name in (API_VARIABLE, "MLFLOW_TRACKING_URI")}
    assert look(abandoned, clock) == [CLOSED]
    assert registry.get_run(gone).info.status == "FAILED"
