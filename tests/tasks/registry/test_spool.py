"""Metrics of trainings that never came again: their files go, but none that is written to."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlflow.entities import Metric

from llm.removal import Unused
from tasks.registry.spool import Point, Spool, remove_spools, spool_of, unused_spools

POINTS = [Point(Metric("loss", 2.0, 1, 1), 0)]


def old_spool(key: str) -> Path:
    path = spool_of(key)
    Spool(path).append(POINTS, fsync=False)
    os.utime(path, (0, 0))
    return path


def found() -> list[Unused]:
    return unused_spools(since=datetime.now(UTC) - timedelta(days=30))


def test_a_file_that_nothing_was_written_to_for_long_goes_and_a_younger_one_stays() -> None:
    old = old_spool("k1")
    Spool(spool_of("k2")).append(POINTS, fsync=False)
    size = old.stat().st_size
    assert [(one.path, one.bytes) for one in remove_spools(found())] == [(old, size)]
    assert list(old.parent.iterdir()) == [spool_of("k2")]


def test_what_was_written_to_or_delivered_since_it_was_looked_at_is_passed_over() -> None:
    written, delivered = Spool(old_spool("k1")), Spool(old_spool("k2"))
    old = found()
    written.append(POINTS, fsync=False)
    delivered.clear()
    assert len(old) == 2
    assert remove_spools(old) == []
    assert len(written.read()) == 2
