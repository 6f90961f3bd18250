"""What a training does about a step that went wrong: skip it, go back and around it, and then fail clearly.

- A step whose loss or gradient is not finite changes no weights. It is counted, and its batches are over.
- After five such steps in a row, or twenty in a row whose loss is far above the median of the last fifty good ones, the
  training goes back to its last good checkpoint (or to its beginning), passes over all batches since then, and goes on
  with half of the learning rate.
- The fourth time it fails.

Going back and passing over batches is what Chowdhery et al. 2022 (PaLM, section 5.1) did: some 100 steps back, 200 to
500 batches passed over; the same batches did no harm from another state. Halving the rate is for spikes that are the
rate's doing. All that is decided on is part of a checkpoint, so that a training that was killed decides the same.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field

# Of the curve; after a roll-back, every report says it: the same steps come again.
ROLLBACKS = "rollbacks"


@dataclass(frozen=True)
class Policy:
    """When a training goes back, and how often."""

    skips: int = 5  # steps in a row that are not finite
    high: int = 20  # steps in a row whose loss is too high:
    factor: float = 1.5  # above the running median by this factor,
    nats: float = 1.0  # and by so many nats a target at least, since a loss near 0 jumps by factors
    window: int = 50  # good steps that the median is of; before there are as many, no loss is too high
    rollbacks: int = 3
    rate_factor: float = 0.5  # of the learning rate, each time


@dataclass
class Stability:
    """What a training remembers of its troubles; JSON holds it."""

    losses: list[float] = field(default_factory=list)  # of the last good steps, nats a target
    bad: int = 0  # steps in a row, up to now, that were skipped
    high: int = 0  # steps in a row, up to now, with a loss that is too high
    skipped: int = 0  # steps in all
    rollbacks: int = 0

    @property
    def calm(self) -> bool:
        """True where the last step was good: only then is a checkpoint one to go back to."""
        return self.bad == 0 and self.high == 0

    def skip(self) -> None:
        """Note a step that was not finite."""
        self.bad += 1
        self.skipped += 1

    def note(self, loss: float, policy: Policy) -> None:
        """Note the loss of a step that was taken, in nats a target."""
        self.bad = 0
        if len(self.losses) == policy.window:
            median = statistics.median(self.losses)
            if loss > max(policy.factor * median, median + policy.nats):
                self.high += 1
                return
        self.high = 0
        self.losses = [*self.losses, loss][-policy.window :]

    def trouble(self, policy: Policy) -> str:
        """Why the training must go back; empty as long as it need not."""
        if self.bad >= policy.skips:
            return f"{self.bad} steps in a row were not finite"
        if self.high >= policy.high:
            return f"the loss was far above its median ({statistics.median(self.losses):.4g}) for {self.high} steps"
        return ""

    def points(self) -> dict[str, float]:
        """For the curve; nothing while there was no trouble."""
        found = {"skipped_steps": float(self.skipped), ROLLBACKS: float(self.rollbacks)}
        return found if any(found.values()) else {}


def finite(loss: float, norm: float) -> bool:
    """Whether a step may change weights."""
    return math.isfinite(loss) and math.isfinite(norm)
