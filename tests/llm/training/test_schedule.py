"""The budget and the learning rate by hand."""

from __future__ import annotations

import pytest

from llm.training.config import TrainingConfig
from llm.training.schedule import budget_used, clock_used, learning_rate, time_left


def config(**changes: object) -> TrainingConfig:
    values = {"steps": 10, "batch_tokens": 8, "context": 8, "learning_rate": 0.1, "warmup": 2, "validate_every": 5}
    return TrainingConfig.model_validate(values | changes)


def rate(step: int, options: TrainingConfig) -> float:
    return learning_rate(step, budget_used(options, step=step, targets=0, seconds=0.0), options)


def test_warm_up_is_linear_and_its_first_step_moves() -> None:
    assert [rate(step, config()) for step in (0, 1)] == [0.05, 0.1]


def test_without_warm_up_the_first_step_has_the_peak() -> None:
    assert rate(0, config(warmup=0)) == 0.1


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        ("linear", [0.1, 0.05, 0.0125]),
        ("cosine", [0.1, 0.05, 0.0038060]),
        ("constant", [0.1, 0.1, 0.1]),
        # The last fifth begins at step 2 + 0.8 x 8; at step 9 a share 0.375 of it is done: 1 - sqrt(0.375).
        ("late", [0.1, 0.1, 0.0387628]),
    ],
)
def test_the_fall_has_its_shape(decay: str, expected: list[float]) -> None:
    assert [rate(step, config(decay=decay)) for step in (2, 6, 9)] == pytest.approx(expected, abs=1e-6)


def test_the_budget_that_is_furthest_counts() -> None:
    options = config(targets=1000, minutes=2.0)
    assert budget_used(options, step=6, targets=100, seconds=6.0) == pytest.approx(0.5)
    assert budget_used(options, step=3, targets=600, seconds=6.0) == pytest.approx(0.6)
    assert budget_used(options, step=3, targets=100, seconds=84.0) == pytest.approx(0.7)


def test_the_warm_up_uses_no_budget_of_steps() -> None:
    assert [budget_used(config(), step=step, targets=0, seconds=0.0) for step in (0, 2, 10)] == [0.0, 0.0, 1.0]


def test_the_clock_s_share_grows_with_the_time_and_is_all_of_it_at_the_end() -> None:
    assert [clock_used(seconds, left=100.0 - seconds) for seconds in (0.0, 25.0, 99.0)] == [0.0, 0.25, 0.99]
    assert [clock_used(0.0, left=left) for left in (0.0, -5.0)] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 40.0),  # two of ten steps took 10 s, in the warm-up too
        ({"targets": 300}, 20.0),  # 100 targets took 10 s
        ({"targets": 3000}, 40.0),
        ({"minutes": 0.25}, 5.0),
        ({"minutes": 0.1}, 0.0),
    ],
)
def test_the_time_left_is_that_of_the_budget_that_ends_first(changes: dict[str, object], expected: float) -> None:
    assert time_left(config(**changes), step=2, targets=100, seconds=10.0) == pytest.approx(expected)


def test_targets_say_nothing_of_the_time_before_there_is_one() -> None:
    assert time_left(config(targets=100), step=2, targets=0, seconds=10.0) == pytest.approx(40.0)
