"""Registered versions that cost nothing: a number, a source and tags, but no files behind them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.registry.connection import client
from tasks.registry.versions import Version, get_version


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
