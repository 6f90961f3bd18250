"""What is left to do for a flow run that could not end by itself; Prefect calls hooks with exactly these names."""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

from llm.families import FAMILIES
from tasks.registry.abandoned import close_runs_of
from tasks.registry.runs import FLOW_RUN_ID, ROOT_FLOW_RUN_ID


def end_inner_runs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Mark as crashed the flow runs inside of a killed one: nobody does, if they gave no sign of life before."""
    inside = FlowRunFilter(
        parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING])),
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=inside):
            client.set_flow_run_state(run.id, Crashed(message="the flow run around it was killed"), force=True)


def close_mlflow_runs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Close the MLflow runs of a killed or cancelled flow run, which would stay RUNNING for ever."""
    for tag in (FLOW_RUN_ID, ROOT_FLOW_RUN_ID):
        close_runs_of(tag, str(flow_run.id), families=tuple(FAMILIES))
