"""Our training loop as a contestant: steps of the Trainer, checkpoints and all, every round on other batches."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.race import Round

if TYPE_CHECKING:
    from torch import nn

    from llm.families.base import Family
    from llm.tokens import TokenTable
    from llm.training.config import TrainingConfig

_VALIDATION = 200  # rows; validation stands outside of the clock


def make_round(
    *, family: Family, model: nn.Module, table: TokenTable, config: TrainingConfig, units: Callable[[np.ndarray], int]
) -> Round:
    """A round of `config.steps` steps; `units` counts the work in a batch, given its rows."""
    from llm.training.trainer import Trainer

    validation = table.slice(0, _VALIDATION)
    counts: list[int] = []
    seeds = itertools.count(1)
    collate = family.collate

    def counted(of: TokenTable, rows: np.ndarray, by: TrainingConfig) -> Any:
        if of is table:
            counts.append(units(rows))
        return collate(of, rows, by)

    family.collate = counted

    def one_round() -> float:
        counts.clear()
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                family=family,
                model=model,
                train=table,
                validation=validation,
                config=config.model_copy(update={"seed": next(seeds)}),
                folder=Path(folder),
                report=lambda *_: None,
            )
            progress = trainer.run()
        # The loop makes one batch more than it takes.
        return sum(counts[: config.steps]) / progress.seconds

    return one_round
