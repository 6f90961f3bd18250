"""The share of a budget and the time that is left, by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from llm.training.budget import Budget
from llm.training.checkpoint import Progress
from llm.training.config import TrainingConfig

HOUR = 3600.0


def config(**changes: object) -> TrainingConfig:
    values = {"steps": 100, "batch_tokens": 8, "context": 8, "learning_rate": 0.1, "warmup": 0, "validate_every": 5}
    return TrainingConfig.model_validate(values | changes)


def standing(progress: Progress, until: float | None = None, **changes: object) -> tuple[float, float]:
    """Share that is used and seconds that are left, where `until` is so many seconds from now."""
    end = None if until is None else datetime.now(UTC) + timedelta(seconds=until)
    budget = Budget(config(**changes), end)
    budget.use(progress, running=0.0)
    told = budget.standing(progress)
    return told["budget_used"], told["seconds_left"]


def progress() -> Progress:
    """A fifth of the steps took two hours, of which half an hour was warm-up."""
    return Progress("float32", step=20, targets=600, seconds=2 * HOUR, warm=0.5 * HOUR)


def test_without_another_end_the_steps_count() -> None:
    assert standing(progress()) == (0.2, 8 * HOUR)


def test_what_is_furthest_is_the_share_and_what_ends_first_the_time() -> None:
    assert standing(progress(), targets=800) == (0.75, pytest.approx(2 * HOUR / 3))
    assert standing(progress(), minutes=150) == (0.8, 0.5 * HOUR)
    assert standing(progress(), targets=800, minutes=150) == (0.8, 0.5 * HOUR)


def test_a_clock_that_ends_it_before_the_steps_decides_and_that_is_noted() -> None:
    some = progress()
    share, left = standing(some, until=0.5 * HOUR)
    # An hour and a half behind the warm-up, and half an hour to go.
    assert share == pytest.approx(0.75, abs=0.01)
    assert left == pytest.approx(0.5 * HOUR, rel=0.02)
    assert some.clocked


def test_a_clock_that_comes_later_changes_nothing() -> None:
    some = progress()
    assert standing(some, until=24 * HOUR) == standing(progress())
    assert not some.clocked


def test_after_its_time_all_is_used() -> None:
    assert standing(progress(), until=-1.0) == (1.0, 0.0)


def test_what_was_trained_since_the_last_count_counts() -> None:
    budget = Budget(config(minutes=150), None)
    assert budget.use(progress(), running=0.25 * HOUR) == 0.9
    assert budget.left(progress(), running=0.25 * HOUR) == 0.25 * HOUR
