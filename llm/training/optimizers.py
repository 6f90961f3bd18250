"""The optimizers of a training: AdamW for what every step changes, row-wise Adam for large embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from llm.model.layers import Block
from llm.training.config import TrainingConfig
from llm.training.muon import Muon

_MUON_MOMENTUM = 0.95


def make_optimizers(model: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """AdamW (Loshchilov and Hutter 2019), SparseAdam for embeddings with `sparse=True`, Muon where it is asked for.

    Weight decay acts on matrices only, as norms and biases have nothing to shrink; and not on row-wise embeddings,
    whose rows are changed only when their token was read.
    """
    betas = (0.9, config.adam_beta2)
    rows = [module.weight for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse]
    matrices = _block_matrices(model) if config.optimizer == "muon" else []
    known = {id(parameter) for parameter in [*rows, *matrices]}
    others = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [
        {"params": [parameter for parameter in others if parameter.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in others if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=betas, fused=True)
    ]
    if rows:
        optimizers.append(torch.optim.SparseAdam(rows, lr=config.learning_rate, betas=betas))
    if matrices:
        optimizers.append(
            Muon(matrices, lr=config.learning_rate, momentum=_MUON_MOMENTUM, weight_decay=config.weight_decay)
        )
    return optimizers


def _block_matrices(model: nn.Module) -> list[nn.Parameter]:
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    return [parameter for block in blocks for parameter in block.parameters() if parameter.ndim == 2]


def gradients(parameters: Iterable[nn.Parameter]) -> Iterator[Tensor]:
    """The numbers of each gradient, to be read or scaled in place; of a row-wise one, those of its rows."""
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if parameter.grad.is_sparse:
            # A token that stands several times in the batch has several rows until they are summed.
            parameter.grad = parameter.grad.coalesce()
            yield parameter.grad.values()
        else:
            yield parameter.grad
