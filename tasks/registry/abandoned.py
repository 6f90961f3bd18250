"""MLflow runs that were left RUNNING by a process that is gone: they are closed as FAILED.

    python -P -m tasks.registry.abandoned

does it for all families; `nightshift up` starts it when flow runs have ended badly.

A process is told by host name, process id and start time. The host counts because ids are given out by each machine
(and each container) for itself: what is free here may be a living training over there, in the same registry. So the run
of a container that comes back with another host name stays RUNNING until its training goes on, which closes it.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from mlflow import MlflowClient
from mlflow.entities import Run, RunTag

from llm.errors import RegistryError
from llm.families import FAMILIES
from llm.liveness import is_alive, this_process
from tasks.registry.connection import TAG_PREFIX, client, lock, registry_errors
from tasks.registry.patience import impatient

_HOST = f"{TAG_PREFIX}host"
_PROCESS = f"{TAG_PREFIX}process"
# One request; a server that takes longer is asked again another time.
_TIMEOUT_S = 10
# Held while a run changes hands, or is found to be nobody's.
_LOCK = "owners-of-runs"


def process_tags() -> dict[str, str]:
    """What a run says of the process that writes it."""
    return {_HOST: socket.gethostname(), _PROCESS: this_process()}


@contextmanager
def taking_over(mlflow_client: MlflowClient, run_id: str) -> Iterator[None]:
    """The run is ours from here on: inside, it may be set to RUNNING, and is not taken for that of its last owner."""
    with lock(_LOCK):
        mlflow_client.log_batch(run_id, tags=[RunTag(name, value) for name, value in process_tags().items()])
        yield


def close_abandoned_runs(families: Iterable[str]) -> list[str]:
    """Close as FAILED the runs of processes of this machine that are gone (killed, power cut); returns their ids.

    Raises RegistryError when MLflow cannot be reached.
    """
    with registry_errors("closing the runs of processes that are gone"):
        mlflow_client = client()
        found = _running(mlflow_client, families, tag=_HOST, value=socket.gethostname())
        return [run.info.run_id for run in found if _is_abandoned(run) and _close(mlflow_client, run.info.run_id)]


def close_runs_of(tag: str, value: str, *, families: Iterable[str]) -> list[str]:
    """Close as FAILED the running runs that carry a tag (a crashed flow run's id); returns their ids."""
    mlflow_client = client()
    found = _running(mlflow_client, families, tag=tag, value=value)
    for run in found:
        mlflow_client.set_terminated(run.info.run_id, status="FAILED")
    return [run.info.run_id for run in found]


def _running(mlflow_client: MlflowClient, families: Iterable[str], *, tag: str, value: str) -> list[Run]:
    experiments = [found for name in families if (found := mlflow_client.get_experiment_by_name(name))]
    if not experiments:
        return []  # MLflow would look in all of them
    wanted = f"attributes.status = 'RUNNING' and tags.`{tag}` = '{value}'"
    return list(mlflow_client.search_runs([found.experiment_id for found in experiments], wanted))


def _is_abandoned(run: Run) -> bool:
    tags: Mapping[str, str] = run.data.tags
    if run.info.status != "RUNNING" or tags.get(_HOST) != socket.gethostname():
        return False
    return _PROCESS in tags and not is_alive(tags[_PROCESS])


def _close(mlflow_client: MlflowClient, run_id: str) -> bool:
    """False where another process goes on with the run meanwhile."""
    with lock(_LOCK):
        if not _is_abandoned(mlflow_client.get_run(run_id)):
            return False
        mlflow_client.set_terminated(run_id, status="FAILED")
    return True


def main() -> None:
    """Close those of all families, and say how many, if any; where MLflow cannot be reached, exit with status 1."""
    try:
        with impatient(timeout_s=_TIMEOUT_S):
            closed = close_abandoned_runs(FAMILIES)
    except RegistryError as error:
        sys.exit(error.problem)
    if closed:
        sys.stdout.write(f"MLflow runs whose process is gone, closed as failed: {len(closed)}\n")


if __name__ == "__main__":
    main()
