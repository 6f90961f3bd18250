"""What is left to do for a flow run that could not end by itself; Prefect calls hooks with exactly these names."""

from __future__ import annotations

from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from llm.families import FAMILIES
from tasks.registry.runs import FLOW_RUN_ID, ROOT_FLOW_RUN_ID, close_runs_of


def close_mlflow_runs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Close the MLflow runs of a killed or cancelled flow run, which would stay RUNNING for ever."""
    for tag in (FLOW_RUN_ID, ROOT_FLOW_RUN_ID):
        close_runs_of(tag, str(flow_run.id), families=tuple(FAMILIES))
