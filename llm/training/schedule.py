"""How much of a training's budget is used, and the learning rate that goes with it: functions of the progress alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from llm.training.config import TrainingConfig

_LATE = 0.2  # share of the budget in which the late fall happens

# Share of the peak that is left after a share `done` of the budget.
_FALLS: dict[Literal["linear", "cosine", "constant", "late"], Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,  # noqa: ARG005
    # Warm-up, stable, decay (Hu et al. 2024, section 4; the square root is of Haegele et al. 2024, section 3).
    "late": lambda done: 1.0 if done < 1.0 - _LATE else 1.0 - math.sqrt((done - 1.0 + _LATE) / _LATE),
}


def budget_used(config: TrainingConfig, *, step: int, targets: int, seconds: float) -> float:
    """Share of the budget behind the warm-up that is used: of steps, targets or minutes, whichever is furthest.

    `step` optimizer steps are done, which had `targets` targets and took `seconds` seconds. At 1 the training ends.
    """
    shares = [max(0, step - config.warmup) / (config.steps - config.warmup)]
    if config.targets > 0:
        shares.append(targets / config.targets)
    if config.minutes > 0:
        shares.append(seconds / (60 * config.minutes))
    return max(shares)


def time_left(config: TrainingConfig, *, step: int, targets: int, seconds: float) -> float:
    """Seconds until the budget ends at the pace so far: of steps, targets or minutes, whichever ends first.

    `step` optimizer steps are done, one at least, which had `targets` targets and took `seconds` seconds.
    """
    left = [seconds * (config.steps - step) / step]
    if config.targets > 0 and targets > 0:
        left.append(seconds * (config.targets - targets) / targets)
    if config.minutes > 0:
        left.append(60 * config.minutes - seconds)
    return max(0.0, min(left))


def clock_used(seconds: float, *, left: float) -> float:
    """Share of the time behind the warm-up that is used after `seconds` seconds, when `left` seconds are left.

    Validations take of what is left and are no training, so this runs a little ahead of an even pace.
    """
    left = max(0.0, left)
    return seconds / (seconds + left) if left > 0 else 1.0


def learning_rate(step: int, used: float, config: TrainingConfig) -> float:
    """Learning rate of step `step`, counted from 0, when a share `used` of the budget is used before it.

    The first step already moves, and the last of a linear or cosine fall still does: neither is wasted.
    """
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup > 0 else 1.0
    return config.learning_rate * warm * _FALLS[config.decay](min(1.0, used))
