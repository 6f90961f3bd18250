"""A registry in a home of its own, with versions of models that really answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.families import load_family
from llm.predictor import Predictor
from tasks.registry.logged_model import ModelToLog
from tasks.registry.runs import TrainingIdentity, training_run
from tasks.registry.versions import Measured, Version, register

INPUTS = ("Add a new device", "Good evening.")


def settle_in(home: Path, patch: pytest.MonkeyPatch) -> None:
    """Let this process live in `home`."""
    patch.setenv("NIGHTSHIFT_HOME", str(home))
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow/mlflow.db")
    patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def register_folder(folder: Path, family: str, key: str, *, metrics: dict[str, float] | None = None) -> Version:
    """Register the model in `folder` as a challenger, with its own answers as the example."""
    identity = TrainingIdentity(family, key, {}, datasets=(), tags={})
    model = ModelToLog(
        folder=folder,
        family=family,
        training_key=key,
        inputs=list(INPUTS),
        answers=Predictor.load(folder).predict(INPUTS),
        params=load_family(family).params().model_dump(mode="json"),
    )
    with training_run(identity) as run:
        return register(run, model, Measured(metrics or {}, {}, "c0ffee"), step=1)
