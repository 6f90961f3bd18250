"""One temporary Prefect server for all flow tests, and homes with a registry of their own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    storage = {PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results")}
    with prefect_test_harness(server_startup_timeout=120), temporary_settings(storage):
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, migrated_database: Path) -> Iterator[Path]:
    """Nightshift's home, shared by the tests of a module: they are one story."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        settle_in(folder, patch)
        database = folder / "mlflow" / "mlflow.db"
        database.parent.mkdir()
        shutil.copy(migrated_database, database)
        yield folder


@pytest.fixture
def at_home(home: Path, nightshift_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Back from the empty home that every test gets to the shared one."""
    settle_in(home, monkeypatch)


def settle_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("NIGHTSHIFT_HOME", str(folder))
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow/mlflow.db")
    patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
