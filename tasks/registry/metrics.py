"""Training metrics on their way to MLflow: collected, sent in batches, lost neither to a hiccup nor to a resume."""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from llm.errors import RegistryError
from llm.training.stability import ROLLBACKS
from tasks.registry.connection import registry_errors
from tasks.registry.patience import first_line, impatient
from tasks.registry.spool import Point, Spool

# MLflow refuses more than this in one request.
_LARGEST_BATCH = 1000
_ATTEMPT_S = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 120.0

# The last step of each metric, after so many roll-backs.
LastSteps = dict[tuple[str, int], int]

log = logging.getLogger(__name__)


class MetricBuffer:
    """`report(step, values)` is the trainer's callback; points go out by number, by age, and at the end.

    `open_run` gives the run's id, opening it if need be; nothing is opened for a training that reports nothing.

    One call to MLflow costs 10 to 30 ms, more than a step of a small model. Used as a context manager, the buffer is
    emptied however the training ends. Points that the run already holds are dropped: a resumed training repeats the
    steps after its last checkpoint. One that went back repeats steps too, but with other values, which are kept beside
    the first. While MLflow is away the training does not wait for it: it is asked again after 10 s, then ever less
    often, each time for 5 s at most. Points lie in the file `spool` until all are delivered.
    """

    def __init__(
        self,
        client: MlflowClient,
        open_run: Callable[[], str],
        *,
        spool: Path | None = None,
        every_points: int = 200,
        every_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._open_run = open_run
        self._spool = Spool(spool) if spool else None
        self._every_points = every_points
        self._every_seconds = every_seconds
        self._clock = clock
        self._flushed = clock()
        self._pause = 0.0  # seconds until the next attempt; 0 while MLflow is there
        self._waiting: list[Point] = []
        self._taken: LastSteps = {}
        self._known: LastSteps | None = None
        self._newest = (0, 0)  # (milliseconds, roll-backs) of the last report
        if self._spool:
            self._take(self._spool.read())

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of one step; after a roll-back, each report says how many there were."""
        rollbacks = int(values.get(ROLLBACKS, 0))
        when = self._time(rollbacks)
        points = self._take(Point(Metric(name, float(value), when, step), rollbacks) for name, value in values.items())
        if points and self._spool:
            self._spool.append(points, fsync=self._pause > 0)
        waited = self._clock() - self._flushed
        due = len(self._waiting) >= self._every_points or waited >= self._every_seconds
        if self._waiting and due and waited >= self._pause:
            self._try_flush()

    def _time(self, rollbacks: int) -> int:
        """Now in milliseconds, but later than all before a roll-back: by that alone `last_steps` tells them apart."""
        newest, before = self._newest
        now = max(int(time.time() * 1000), newest + (rollbacks != before))
        self._newest = now, rollbacks
        return now

    def _take(self, points: Iterable[Point]) -> list[Point]:
        """Let points wait, but for those of steps that were reported before."""
        new = _after(self._taken, points)
        self._waiting += new
        self._taken |= {(metric.key, rollbacks): metric.step for metric, rollbacks in new}
        return new

    def flush(self) -> None:
        """Send what waits, as patiently as the night is.

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
        if not self._waiting and self._spool:
            self._spool.clear()

    def _try_flush(self) -> None:
        count = len(self._waiting)
        try:
            with impatient(timeout_s=_ATTEMPT_S):
                self._send()
        except (MlflowException, RegistryError, OSError) as error:
            self._flushed = self._clock()
            if not self._pause:
                reason = first_line(error)
                log.warning("MLflow does not take metrics, they wait while the training goes on: %s", reason)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S) or _FIRST_PAUSE_S
            return
        if self._pause:
            self._pause = 0.0
            log.warning("MLflow is back and has taken the %d metrics that waited", count)

    def _send(self) -> None:
        if not self._waiting:
            return
        run_id = self._open_run()
        if self._known is None:
            self._known = last_steps(self._client, run_id)
        self._waiting = _after(self._known, self._waiting)
        while self._waiting:
            batch = self._waiting[:_LARGEST_BATCH]
            # Sent again when its reply was lost, it is not doubled: MLflow knows a point by its time and value too.
            self._client.log_batch(run_id, metrics=[metric for metric, _ in batch])
            del self._waiting[: len(batch)]
        self._flushed = self._clock()


def last_steps(client: MlflowClient, run_id: str) -> LastSteps:
    """The last step that the run holds of each metric, for each number of roll-backs.

    MLflow knows no such number of a point: it is the newest that was reported until then.
    """
    names = client.get_run(run_id).data.metrics
    histories = {name: client.get_metric_history(run_id, name) for name in names}
    told = sorted((metric.timestamp, int(metric.value)) for metric in histories.get(ROLLBACKS, ()))
    last: LastSteps = defaultdict(lambda: -1)
    for name, history in histories.items():
        for metric in history:
            place = bisect_right(told, metric.timestamp, key=lambda one: one[0])
            key = name, told[place - 1][1] if place else 0
            last[key] = max(last[key], metric.step)
    return dict(last)


def _after(last: LastSteps, points: Iterable[Point]) -> list[Point]:
    return [point for point in points if point.metric.step > last.get((point.metric.key, point.rollbacks), -1)]
