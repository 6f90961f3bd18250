"""What is done for a flow run that was killed."""

from __future__ import annotations

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run
from prefect.states import Running

from flows.hooks import end_inner_runs

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


@flow
def inner() -> str:
    return str(flow_run.id)


@flow
def outer() -> tuple[str, list[str]]:
    return str(flow_run.id), [inner(), inner()]


def test_flow_runs_inside_of_a_killed_one_are_crashed_and_those_that_ended_are_left() -> None:
    around, (ended, lost) = outer()
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(lost, Running(), force=True)
        killed = client.read_flow_run(around)
        end_inner_runs(outer, killed, killed.state)
        assert client.read_flow_run(lost).state.type == StateType.CRASHED
        assert client.read_flow_run(ended).state.type == StateType.COMPLETED
