"""Prefect tasks of a batch prediction: the version, the rows, the page."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.batch_prediction.config import BatchConfig
from llm.batch_prediction.job import Report
from tasks.batch_job import pin, predict_rows
from tasks.batch_story import page, title
from tasks.registry.versions import Version


@task(name="find version", cache_policy=NO_CACHE, persist_result=False)
def pinned_version(family: str, reference: str, config: BatchConfig) -> Version:
    """The version that all rows are predicted with, even if the alias moves meanwhile."""
    version = pin(family, reference, config)
    get_run_logger().info("%s %s is version %d", family, reference, version.version)
    return version


@task(name="predict rows", cache_policy=NO_CACHE, persist_result=False)
def predict(version: Version, reference: str, config: BatchConfig) -> Report:
    """From the input to the output; what was answered before a crash is not predicted again."""
    return predict_rows(version, reference, config)


@task(name="write counts", cache_policy=NO_CACHE, persist_result=False)
def publish(report: Report) -> None:
    """A page of the flow run, with counts and examples."""
    key = f"batch-predict-{report.model.family}"
    create_markdown_artifact(page(report), key=key, description=title(report))
    get_run_logger().info("%s; the page is the artifact %s", title(report), key)
