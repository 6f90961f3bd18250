"""How much of a training's budget is used and how long it lasts, by its options and by the clock."""

from __future__ import annotations

from datetime import UTC, datetime

from llm.training.checkpoint import Progress
from llm.training.config import TrainingConfig
from llm.training.schedule import budget_used, clock_used, time_left

# What reports say beside the points of the curve: the share of the budget that is used, and seconds.
BUDGET_USED, SECONDS_LEFT = "budget_used", "seconds_left"


class Budget:
    """Of a training that ends by the options in `config`, and at `until` if nothing ends it before."""

    def __init__(self, config: TrainingConfig, until: datetime | None) -> None:
        self._config = config
        self._until = until
        self._used = 0.0

    def use(self, progress: Progress, *, running: float) -> float:
        """Share that is used, `running` seconds after what `progress` counts; at 1 the training ends.

        Notes in `progress` what the clock's share counts from, and whether it was the clock's that decided.
        """
        seconds = progress.seconds + running
        used = budget_used(self._config, step=progress.step, targets=progress.targets, seconds=seconds)
        if self._until is not None:
            if progress.step <= self._config.warmup:
                progress.warm = seconds
            by_clock = clock_used(seconds - progress.warm, left=self._by_clock(self._until))
            progress.clocked |= by_clock > used
            used = max(used, by_clock)
        self._used = used
        return used

    def left(self, progress: Progress, *, running: float = 0.0) -> float:
        """Seconds until the training ends, at the pace so far; one step is done at least."""
        seconds = progress.seconds + running
        left = time_left(self._config, step=progress.step, targets=progress.targets, seconds=seconds)
        return left if self._until is None else min(left, self._by_clock(self._until))

    def standing(self, progress: Progress, *, running: float = 0.0) -> dict[str, float]:
        """For reports: the share that was used at the last `use`, and the seconds that are left now."""
        return {BUDGET_USED: min(1.0, self._used), SECONDS_LEFT: self.left(progress, running=running)}

    @staticmethod
    def _by_clock(until: datetime) -> float:
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
