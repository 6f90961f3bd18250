"""The flow that says how good a registered version is; `nightshift evaluate` is the same for a terminal."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.configuration import FamilyConfig
from flows.hooks import close_mlflow_runs
from llm.corpora import CorpusConfig
from tasks.registry.patience import patience
from tasks.version_evaluation import publish, score, version_of


class EvaluateVersionConfig(FamilyConfig):
    """Which version is scored, and on what."""

    version: str = Field(
        "champion", min_length=1, title="Version", description="the number or an alias of the version to score"
    )
    corpus: CorpusConfig | None = Field(
        None,
        title="Corpus",
        description="all of its rows are scored; left out, the test split of the corpus that the version learned from. "
        "Name nothing that it was trained on: what it has seen, it knows",
    )
    threads: int = Field(2, ge=1, le=256, title="Threads", description="of the CPU")


@flow(
    name="evaluate",
    flow_run_name="evaluate {config.family}",
    on_crashed=[close_mlflow_runs],
    on_cancellation=[close_mlflow_runs],
    persist_result=True,  # as in `retrain`
    result_serializer="json",
)
def evaluate_version(config: EvaluateVersionConfig) -> State[dict[str, Any]]:
    """Score a registered version, and keep the figures in an MLflow run that is linked to it. No alias moves."""
    with patience():
        version = version_of(config.family, config.version)
        found = score(version, config.corpus, threads=config.threads)
        run = publish(found)
    return Completed(
        message=found.title,
        data={
            "family": config.family,
            "version": version.version,
            "rows": found.rows,
            "metrics": found.metrics,
            "run_id": run.run_id,
        },
    )
