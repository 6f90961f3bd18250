"""Options of what flows ask of MLflow; apart, because importing mlflow takes seconds."""

from __future__ import annotations

from pydantic import Field

from llm.config import Config

PATIENCE = 15.0  # minutes


class RegistryConfig(Config):
    """What a night does while MLflow is away."""

    patience: float = Field(
        PATIENCE,
        ge=0.0,
        le=600.0,
        title="Patience",
        description="minutes that a night waits for an MLflow that does not answer, before it fails; a training waits "
        "for nothing until its end",
        json_schema_extra={"unit": "minutes"},
    )
