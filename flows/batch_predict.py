"""The flow that answers all rows of a file or table; `nightshift batch-predict` is the same for a terminal."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field, model_validator

from flows.configuration import FamilyConfig
from llm.batch_prediction.config import BatchConfig
from llm.config import parse_config
from llm.errors import ConfigError
from llm.families import load_family
from tasks.batch import pinned_version, predict, publish
from tasks.batch_story import title
from tasks.registry.patience import patience


class BatchPredictConfig(FamilyConfig, BatchConfig):
    """Which rows, which model, and where the answers go."""

    version: str = Field(
        "champion",
        min_length=1,
        title="Version",
        description="the number or an alias of the version that predicts; an alias is looked up once, at the start",
    )

    @model_validator(mode="after")
    def _family_has_the_parameters(self) -> BatchPredictConfig:
        try:
            parse_config(load_family(self.family).params, self.params, where=f"params of {self.family}")
        except ConfigError as error:
            raise ValueError(f"{error.problem}; {error.remedy}") from None
        return self

    @property
    def job(self) -> BatchConfig:
        """The part that says nothing of the model."""
        return BatchConfig(**{name: getattr(self, name) for name in BatchConfig.model_fields})


@flow(
    name="batch-predict",
    flow_run_name="batch-predict {config.family}",
    persist_result=True,  # as in `retrain`
    result_serializer="json",
)
def batch_predict(config: BatchPredictConfig) -> State[dict[str, Any]]:
    """Answer every row of the input, and write them all at once.

    A run that was stopped or killed goes on when it is started again with the same configuration.
    """
    with patience():
        version = pinned_version(config.family, config.version, config.job)
        report = predict(version, config.version, config.job)
        publish(report)
    return Completed(
        message=title(report),
        data={
            "family": config.family,
            "version": version.version,
            "output": config.output,
            "rows": report.rows,
            "answered": report.answered,
            "refused": dict(report.refused),
            "rows_per_second": round(report.rows_per_second, 1),
        },
    )
