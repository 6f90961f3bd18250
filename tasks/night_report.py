"""The Prefect task that publishes the page of a night; Prefect keeps the nights before under the same key."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from tasks.night_story import FamilyNight, headline, night_page
from tasks.provenance import flow_run_url

KEY = "night"


@task(name="write night", cache_policy=NO_CACHE, persist_result=False)
def write_night(nights: Sequence[FamilyNight]) -> None:
    """One markdown artifact a night: a line a family, with links to its version and to its flow run."""
    runs = flow_run_pages() if flow_run_url() else {}
    create_markdown_artifact(night_page(nights, flow_runs=runs), key=KEY, description=headline(nights))


def flow_run_pages() -> dict[str, str]:
    """By family, the page of the flow run that this one started for it."""
    parent = FlowRunFilterParentFlowRunId(any_=[flow_run.id])
    with get_client(sync_client=True) as prefect:
        found = prefect.read_flow_runs(flow_run_filter=FlowRunFilter(parent_flow_run_id=parent))
    pages = {str(run.parameters["config"]["family"]): url_for("flow-run", obj_id=run.id) for run in found}
    return {family: page for family, page in pages.items() if page}
