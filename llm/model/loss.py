"""Cross-entropy over a vocabulary without ever holding all scores.

The scores of N positions over V tokens are the largest tensor of a small model's training (N = 4096 and V = 4096:
64 MB, and as much again for their gradient). Here a chunk of them is made, turned into its loss and its gradient at
once, and overwritten by the next chunk.

Shapes: N positions, D model width, V vocabulary, C positions of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llm.model.products import as_factor, multiply, weight_gradient

# A chunk's scores should stay in the processor's cache while they are worked on: 4 million of them are 16 MB.
_CHUNK_SCORES = 1 << 22


def projected_cross_entropy(states: Tensor, weight: Tensor, labels: Tensor, *, label_smoothing: float) -> Tensor:
    """Sum over N of the cross-entropy (nats) of `labels` (N,) under softmax(states weight^T); a scalar with gradient.

    states (N, D), weight (V, D). The same number as torch's `cross_entropy(states @ weight.T, labels,
    reduction="sum", label_smoothing=...)`: with smoothing e, the target is 1 - e on the label plus e / V everywhere
    (Szegedy et al. 2016, section 7). Statistics are float32 or better, whatever the products are made in.
    """
    total: Tensor = _ProjectedCrossEntropy.apply(states, weight, labels, label_smoothing)  # type: ignore[no-untyped-call]
    return total


class _ProjectedCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the chunks."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
        """See `projected_cross_entropy`."""
        needs_gradient = any(ctx.needs_input_grad)
        read_states, read_weight = as_factor(states), as_factor(weight)
        size = max(1, _CHUNK_SCORES // weight.shape[0])
        total = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
        states_gradient = torch.empty_like(states) if needs_gradient else None
        sum_of_gradients = torch.zeros_like(weight) if needs_gradient else None
        for start in range(0, states.shape[0], size):
            chunk = read_states[start : start + size]
            loss, gradient = _chunk_loss(chunk, read_weight, labels[start : start + size], label_smoothing)
            total += loss
            if states_gradient is not None and sum_of_gradients is not None:
                states_gradient[start : start + size] = multiply(gradient, read_weight.t())
                sum_of_gradients += weight_gradient(gradient, chunk)
        if states_gradient is not None and sum_of_gradients is not None:
            ctx.save_for_backward(states_gradient, sum_of_gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The gradients of forward, times the gradient of the sum."""
        (outer,) = gradients
        states_gradient, sum_of_gradients = ctx.saved_tensors
        return states_gradient * outer, sum_of_gradients * outer, None, None


def _chunk_loss(states: Tensor, weight: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Loss of a chunk (a scalar) and the gradient of its scores, (C, V)."""
    products = multiply(states, weight)
    scores = products if products.dtype == torch.float64 else products.float()
    probabilities = scores.softmax(dim=-1)
    # The largest probability is 1 / sum(exp(scores - largest)): the log of that sum needs no pass of its own.
    log_sums = scores.amax(dim=-1) - probabilities.amax(dim=-1).log()
    places = labels[:, None]
    loss = log_sums.sum() - (1.0 - label_smoothing) * scores.gather(1, places).sum()
    if label_smoothing > 0.0:
        everywhere = label_smoothing / weight.shape[0]
        loss -= everywhere * scores.sum()
        probabilities -= everywhere
    probabilities.scatter_(1, places, probabilities.gather(1, places) - (1.0 - label_smoothing))
    return loss, probabilities.to(products.dtype)
