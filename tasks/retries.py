"""Which failures of a task are worth another try, and after how many seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from llm.errors import DownloadError, KilledError, RegistryAwayError, RegistryError

# A server that hiccups is there again at once or soon; memory takes its time.
_SERVER_S: list[float] = [2, 10]
_MEMORY_S: list[float] = [10]


class Retries(TypedDict):
    """Those options of `prefect.task` that repeat it."""

    retries: int
    retry_delay_seconds: list[float]
    retry_condition_fn: Callable[[Task[..., Any], TaskRun, State[Any]], bool]


def _after(*kinds: type[Exception], pauses: list[float]) -> Retries:
    def failed_so(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
        # An MLflow that is away was waited for already.
        return isinstance(state.data, kinds) and not isinstance(state.data, RegistryAwayError)

    return {"retries": len(pauses), "retry_delay_seconds": pauses, "retry_condition_fn": failed_so}


# A wrong checksum or an empty corpus is the same the second time.
AFTER_DOWNLOAD = _after(DownloadError, pauses=_SERVER_S)
AFTER_MLFLOW = _after(RegistryError, pauses=_SERVER_S)
AFTER_SERVERS = _after(DownloadError, RegistryError, pauses=_SERVER_S)
# The stage of a child process that was killed starts anew.
AFTER_KILL = _after(KilledError, pauses=_MEMORY_S)
