"""The Prefect task that publishes a retraining's story as a page of the flow run."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from tasks.quiet_story import QuietStory
from tasks.story import Story


@task(name="write report", cache_policy=NO_CACHE, persist_result=False)
def write_report(story: Story | QuietStory) -> None:
    """One markdown artifact a family; Prefect keeps the older ones under the same key."""
    outcome = story.outcome
    key = f"retrain-{outcome.version.family}"
    create_markdown_artifact(story.markdown(), key=key, description=outcome.title)
    get_run_logger().info("%s; the report is the artifact %s", outcome.told, key)
