"""Where MLflow is, and how its failures become one clear error."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from llm.errors import RegistryError
from llm.files import refusal_beneath
from llm.home import home
from tasks.registry.patience import patient

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
ARTIFACTS_VARIABLE = "NIGHTSHIFT_ARTIFACTS"
# Every tag of ours starts with this, so that none collides with MLflow's or with a user's own.
TAG_PREFIX = "nightshift."
_SQLITE = "sqlite:///"
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# MLflow's own words, as `MlflowException.error_code` gives them.
ALREADY_EXISTS = "RESOURCE_ALREADY_EXISTS"
NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"

log = logging.getLogger(__name__)


def tracking_uri() -> str:
    """The MLflow that we speak to: MLFLOW_TRACKING_URI where it is set, else SQLite under Nightshift's home."""
    return os.environ.get(TRACKING_VARIABLE) or f"{_SQLITE}{home() / 'mlflow' / 'mlflow.db'}"


def artifacts_uri() -> str:
    """Where artifacts go when we hold the database ourselves; with a server, the server decides."""
    return os.environ.get(ARTIFACTS_VARIABLE) or (home() / "mlflow" / "artifacts").as_uri()


def is_served() -> bool:
    """True when a server stands between us and the database, so that there are pages to link to."""
    return tracking_uri().startswith(("http://", "https://"))


def client() -> MlflowClient:
    """A client for `tracking_uri()`, creating the SQLite database on the first call.

    MLflow's process-wide address is set too: its SQLite registry asks the global client where a logged model lies.
    """
    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    found = MlflowClient()
    if uri.startswith(_SQLITE):
        _create_database(Path(uri.removeprefix(_SQLITE)), found)
    return patient(found)


def _create_database(path: Path, new_client: MlflowClient) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that migrate the same new file get in each other's way.
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            log.info("creating the MLflow database %s (some seconds, once)", path)
            new_client.search_experiments(max_results=1)


def _reason(error: Exception) -> str:
    """The first line of what MLflow says; of a list, the line that announces it and the first entry.

    A disk that is full is named where MLflow says that a file cannot be copied.
    """
    # SQLAlchemy puts its own remark before what the database said.
    lines = [text for line in str(error).splitlines() if (text := line.strip("# \t"))]
    lines = [line for line in lines if not line.startswith("(raised as a result of")]
    if not lines:
        return type(error).__name__
    said = " ".join(lines[:3]) if lines[0].endswith(":") else lines[0]
    disk = refusal_beneath(error)
    return said if disk is None or disk in said else f"{disk}: {said}"


@contextmanager
def registry_errors(doing: str) -> Iterator[None]:
    """Turn what MLflow raises into a RegistryError that says what was being done, and where."""
    try:
        yield
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"MLflow at {tracking_uri()} failed while {doing}: {_reason(error)}",
            remedy=f"check that it runs, that {TRACKING_VARIABLE} names it and that its disk has space, then run "
            "again: finished work is kept",
        ) from error


def run_url(experiment_id: str, run_id: str) -> str | None:
    """The page of a run, or None when no server shows pages."""
    if not is_served():
        return None
    return f"{tracking_uri().rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"


def version_link(family: str, version: int) -> str:
    """A registered version in markdown: its name, which leads to its page where a server shows pages."""
    name = f"`models:/{family}/{version}`"
    return f"[{name}]({tracking_uri().rstrip('/')}/#/models/{family}/versions/{version})" if is_served() else name


def lock(name: str) -> FileLock:
    """A lock for changes to the registry that read before they write; it holds between processes of one machine."""
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"registry-{name}.lock")


@contextmanager
def no_retries() -> Iterator[None]:
    """MLflow repeats a request whose reply is lost; not in here."""
    before = os.environ.get(_RETRIES)
    os.environ[_RETRIES] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_RETRIES]
        else:
            os.environ[_RETRIES] = before
