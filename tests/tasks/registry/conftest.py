"""Registered versions: with a model's files, and such as cost nothing, a number, a source and tags."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_version import MEASURED

from tasks.registry.connection import client
from tasks.registry.logged_model import ModelToLog
from tasks.registry.runs import TrainingIdentity, training_run
from tasks.registry.versions import Measured, Version, get_version, register


@pytest.fixture
def registered(
    home: Path, identity: Callable[[str], TrainingIdentity], model: Callable[[str], ModelToLog]
) -> Callable[..., Version]:
    """Registers the model of a training key."""

    def make(key: str, measured: Measured = MEASURED) -> Version:
        with training_run(identity(key)) as run:
            return register(run, model(key), measured, step=100)

    return make


@pytest.fixture
def bare_versions(home: Path) -> Callable[[int], list[Version]]:
    """Makes so many versions of `translation`."""

    def make(count: int) -> list[Version]:
        mlflow_client = client()
        mlflow_client.create_registered_model("translation")
        for _ in range(count):
            mlflow_client.create_model_version("translation", (home / "nowhere").as_uri())
        return [get_version(mlflow_client, "translation", number) for number in range(1, count + 1)]

    return make
