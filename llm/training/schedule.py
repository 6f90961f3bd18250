"""The learning rate: linear warm-up, then a fall; a function of the step alone, so that a resume needs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from llm.training.config import TrainingConfig

# Share of the peak that is left after a share `done` of the fall.
_FALLS: dict[Literal["linear", "cosine", "constant"], Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,  # noqa: ARG005
}


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Learning rate of step `step`, counted from 0.

    The first step already moves, and the last of a linear or cosine fall still does: neither is wasted.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / (config.steps - config.warmup)
    return config.learning_rate * _FALLS[config.decay](done)
