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

from llm.model.products import add_weight_gradient, as_factor, multiply

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
                add_weight_gradient(sum_of_gradients, gradient, chunk)
        if label_smoothing > 0.0:
            total += _smooth(states, weight, states_gradient, sum_of_gradients, label_smoothing / weight.shape[0])
        if needs_gradient:
            ctx.save_for_backward(states_gradient, sum_of_gradients)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The gradients of forward, times the gradient of the sum."""
        (outer,) = gradients
        states_gradient, sum_of_gradients = ctx.saved_tensors
        return states_gradient * outer, sum_of_gradients * outer, None, None


def _chunk_loss(states: Tensor, weight: Tensor, labels: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """A chunk's loss (a scalar) and the gradient of its scores (C, V), but for what `_smooth` adds."""
    products = multiply(states, weight)
    scores = products if products.dtype == torch.float64 else products.float()
    places = labels[:, None]
    label_scores = scores.gather(1, places)
    probabilities = torch.softmax(scores, dim=-1, out=scores)  # in place of the scores, which nothing reads again
    label_probabilities = probabilities.gather(1, places)
    logs = label_probabilities.log()
    impossible = label_probabilities[:, 0] < torch.finfo(scores.dtype).tiny
    if impossible.any():  # the probability was rounded to zero: its logarithm must come from the scores
        again = multiply(states[impossible], weight).to(scores.dtype)
        logs[impossible] = label_scores[impossible] - again.logsumexp(dim=-1, keepdim=True)
    loss = label_smoothing * label_scores.sum() - logs.sum()
    probabilities.scatter_(1, places, label_probabilities - (1.0 - label_smoothing))
    return loss, probabilities.to(products.dtype)


def _smooth(
    states: Tensor, weight: Tensor, states_gradient: Tensor | None, weight_gradient: Tensor | None, share: float
) -> Tensor:
    """The part of the loss in which every token is the target with a `share`; takes its gradients from those given.

    The sum of all scores is a product of two sums, so no pass over the scores is needed.
    """
    states_sum, weight_sum = states.sum(dim=0), weight.sum(dim=0)
    if states_gradient is not None and weight_gradient is not None:
        states_gradient.sub_(weight_sum, alpha=share)
        weight_gradient.sub_(states_sum, alpha=share)
    return -share * (states_sum @ weight_sum)
