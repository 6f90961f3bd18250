"""The loss on the validation split, by which a training is judged while it runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from llm.errors import TrainingError
from llm.families.base import Family
from llm.tokens import TokenTable
from llm.training.config import AUGMENTATIONS, TrainingConfig


@torch.no_grad()
def validation_loss(
    family: Family,
    model: nn.Module,
    table: TokenTable,
    config: TrainingConfig,
    *,
    device: torch.device,
    stop: Callable[[], bool],
) -> float | None:
    """Nats a target, in float32 and without label smoothing, over the same batches always; None when it must `stop`.

    The model is in training mode afterwards. Raises TrainingError when the split makes no batch.
    """
    model.eval()
    total, count = 0.0, 0
    plain = config.model_copy(update=dict.fromkeys(AUGMENTATIONS, 0.0))
    for rows in _plan(family, table, config):
        if stop():
            break
        batch = {name: tensor.to(device) for name, tensor in family.collate(table, rows, plain).items()}
        loss = family.loss(model, batch, label_smoothing=0.0)
        total += loss.total.item()
        count += loss.count
    model.train()
    return None if stop() else total / count


def _plan(family: Family, table: TokenTable, config: TrainingConfig) -> list[NDArray[np.int64]]:
    plan = family.plan(table, config, seed=0)[: config.validation_batches]
    if not plan:
        raise TrainingError(
            f"the validation split makes no batch of context {config.context}",
            remedy="give more text, raise splits.validation, or lower training.context",
        )
    return plan
