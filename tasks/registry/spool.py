"""Metrics that MLflow has not taken yet, in a file: what is reported survives the process that reported it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from mlflow.entities import Metric

from llm.home import home
from llm.removal import Unused, tell, unused

log = logging.getLogger(__name__)


def spool_of(training_key: str) -> Path:
    """The file of a training."""
    return _folder() / f"{training_key}.jsonl"


def unused_spools(*, since: datetime) -> list[Unused]:
    """Files of trainings that have reported nothing since then."""
    return unused(_folder().glob("*.jsonl"), since=since)


def remove_spools(spools: Iterable[Unused]) -> list[Unused]:
    """Remove files, but for those that were written to since they were looked at; returns those removed."""
    removed = []
    for spool in spools:
        try:
            if spool.path.stat().st_mtime == spool.used:
                spool.path.unlink()
                removed.append(spool)
        except FileNotFoundError:
            continue  # it was delivered
        except OSError as error:
            tell(None, str(spool.path), (type(error), error, None))
    return removed


def _folder() -> Path:
    return home() / "spool"


class Point(NamedTuple):
    """A value of a metric, and how often the training had gone back before: each time the same steps come again."""

    metric: Metric
    rollbacks: int


class Spool:
    """Points of one training, in the order in which they were reported; the file goes when they are delivered."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._full = False

    def read(self) -> list[Point]:
        """What an earlier process left; a line that it was killed at is passed over."""
        if not self._path.exists():
            return []
        return list(self._points(self._path.read_text(encoding="utf-8", errors="replace")))

    def _points(self, text: str) -> Iterator[Point]:
        for line in text.splitlines():
            try:
                # Older versions did not note the last.
                name, value, when, step, rollbacks = [*json.loads(line), 0][:5]
            except ValueError:
                continue
            yield Point(Metric(name, float(value), int(when), int(step)), int(rollbacks))

    def append(self, points: Sequence[Point], *, fsync: bool) -> None:
        """Add points. A disk that is full stops no training: they are kept in memory then, which is said once."""
        lines = [
            json.dumps([metric.key, metric.value, metric.timestamp, metric.step, rollbacks])
            for metric, rollbacks in points
        ]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                # Begun anew: the last line may be half a one.
                file.write("\n" + "\n".join(lines) + "\n")
                file.flush()
                if fsync:
                    os.fsync(file.fileno())
        except OSError as error:
            if not self._full:
                self._full = True
                log.warning("%s cannot be written (%s): metrics wait in memory only", self._path, error.strerror)

    def clear(self) -> None:
        """Forget everything: it was delivered."""
        if self._path.exists():
            self._path.unlink(missing_ok=True)
