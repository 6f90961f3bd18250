"""Prefect tasks that say how good a registered version is: find it, score it, write it down."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.corpora import CorpusConfig
from tasks.provenance import flow_run_tags, git_tags
from tasks.registry.evaluations import EvaluationRun
from tasks.registry.moves import find_reference
from tasks.registry.versions import Version
from tasks.stages import log_stage
from tasks.version_score import VersionScore, log_score, score_version


@task(name="find version", cache_policy=NO_CACHE, persist_result=False)
def version_of(family: str, reference: str) -> Version:
    """The version of a number or an alias."""
    return find_reference(family, reference)


@task(name="score version", cache_policy=NO_CACHE, persist_result=False)
def score(version: Version, corpus: CorpusConfig | None, *, threads: int) -> VersionScore:
    """Score the version, as the registry holds it, in a process of its own."""
    found = score_version(version, corpus, threads=threads)
    log_stage(found.data, f"{found.rows:,} rows")
    log_stage(found.evaluation, found.title)
    return found


@task(name="write evaluation", cache_policy=NO_CACHE, persist_result=False)
def publish(found: VersionScore) -> EvaluationRun:
    """An MLflow run linked to the version, and a page of the flow run."""
    run = log_score(found, tags=flow_run_tags() | git_tags())
    link = f"\nMLflow run: [{run.run_id}]({run.url})\n" if run.url else f"\nMLflow run: `{run.run_id}`\n"
    key = f"evaluate-{found.version.family}"
    create_markdown_artifact(found.page() + link, key=key, description=found.title)
    get_run_logger().info("%s; the page is the artifact %s", found.title, key)
    return run
