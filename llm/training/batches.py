"""The batches of a training, epoch after epoch, from any place in the data on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from llm.errors import TrainingError
from llm.families.base import Batch, Family
from llm.tokens import TokenTable
from llm.training.config import TrainingConfig

# Separates the random streams of epochs; any constant does.
_EPOCH_STRIDE = 1_000_003


@dataclass(frozen=True)
class Placed:
    """A batch and where it stands: how many batches of its epoch are done with it."""

    epoch: int
    done: int
    batch: Batch


def batches_from(epoch: int, batch: int, family: Family, table: TokenTable, config: TrainingConfig) -> Iterator[Placed]:
    """Batches without end, from number `batch` of that epoch on.

    Raises TrainingError when the table makes none.
    """
    while True:
        plan = family.plan(table, config, seed=config.seed * _EPOCH_STRIDE + epoch)
        if not plan:
            raise TrainingError(
                f"the train split makes no batch of context {config.context}",
                remedy="give more text, or lower training.context",
            )
        for number in range(batch, len(plan)):
            yield Placed(epoch, number + 1, family.collate(table, plan[number], config))
        epoch, batch = epoch + 1, 0
