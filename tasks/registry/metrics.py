"""Training metrics on their way to MLflow: collected, sent in batches, lost neither to a hiccup nor to a resume."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from llm.errors import RegistryError
from tasks.registry.connection import registry_errors

# MLflow refuses more than this in one request.
_LARGEST_BATCH = 1000

log = logging.getLogger(__name__)


class MetricBuffer:
    """`report(step, values)` is the trainer's callback; points go out by number, by age, and at the end.

    `open_run` gives the run's id, opening it if need be; nothing is opened for a training that reports nothing.

    One call to MLflow costs 10 to 30 ms, more than a step of a small model. Used as a context manager, the buffer is
    emptied however the training ends. Points that the run already holds are dropped: a resumed training repeats the
    steps after its last checkpoint.
    """

    def __init__(
        self,
        client: MlflowClient,
        open_run: Callable[[], str],
        *,
        every_points: int = 200,
        every_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._open_run = open_run
        self._every_points = every_points
        self._every_seconds = every_seconds
        self._clock = clock
        self._flushed = clock()
        self._waiting: list[Metric] = []
        self._known: dict[str, int] | None = None

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of one step."""
        now_ms = int(time.time() * 1000)
        self._waiting.extend(Metric(name, float(value), now_ms, step) for name, value in values.items())
        due = len(self._waiting) >= self._every_points or self._clock() - self._flushed >= self._every_seconds
        if due and self._waiting:
            self._try_flush()

    def flush(self) -> None:
        """Send what waits.

        Raises RegistryError when MLflow does not take it.
        """
        with registry_errors("taking metrics"):
            self._send()

    def __enter__(self) -> MetricBuffer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # When the training itself failed, its error is the one to hear about.
        if kind is None:
            self.flush()
        else:
            self._try_flush()

    def _try_flush(self) -> None:
        try:
            self._send()
        except (MlflowException, RegistryError, OSError) as error:
            self._flushed = self._clock()
            log.warning("MLflow did not take %d metrics, they wait: %s", len(self._waiting), error)

    def _send(self) -> None:
        if not self._waiting:
            return
        run_id = self._open_run()
        if self._known is None:
            self._known = last_steps(self._client, run_id)
        self._waiting = [point for point in self._waiting if point.step > self._known.get(point.key, -1)]
        while self._waiting:
            batch = self._waiting[:_LARGEST_BATCH]
            self._client.log_batch(run_id, metrics=batch)
            del self._waiting[: len(batch)]
        self._flushed = self._clock()


def last_steps(client: MlflowClient, run_id: str) -> dict[str, int]:
    """The last step that the run holds of each metric."""
    names = client.get_run(run_id).data.metrics
    return {name: max(metric.step for metric in client.get_metric_history(run_id, name)) for name in names}
