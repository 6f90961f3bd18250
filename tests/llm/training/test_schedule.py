"""The learning rate by hand."""

from __future__ import annotations

import pytest

from llm.training.config import TrainingConfig
from llm.training.schedule import learning_rate


def config(decay: str) -> TrainingConfig:
    return TrainingConfig(
        steps=10, batch_tokens=8, context=8, learning_rate=0.1, warmup=2, decay=decay, validate_every=5
    )


def test_warm_up_is_linear_and_its_first_step_moves() -> None:
    assert [learning_rate(step, config("linear")) for step in (0, 1)] == [0.05, 0.1]


@pytest.mark.parametrize(
    ("decay", "expected"),
    [("linear", [0.1, 0.05, 0.0125]), ("cosine", [0.1, 0.05, 0.0038060]), ("constant", [0.1, 0.1, 0.1])],
)
def test_the_fall_has_its_shape(decay: str, expected: list[float]) -> None:
    found = [learning_rate(step, config(decay)) for step in (2, 6, 9)]
    assert found == pytest.approx(expected, abs=1e-6)
