"""A running mean of the weights (Polyak and Juditsky 1992), which often predicts better than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

# Early weights are forgotten faster: the mean after n updates spans at most about n / 10 of them.
_WARM_UP = 10


class WeightAverage:
    """mean = decay * mean + (1 - decay) * weights, after every step; a decay of 0 keeps no mean at all."""

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._parameters = dict(model.named_parameters()) if decay > 0 else {}
        self._decay = decay
        self.means = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps, counted from 1."""
        if not self.means:
            return
        decay = min(self._decay, step / (_WARM_UP + step))
        torch._foreach_lerp_(list(self.means.values()), list(self._parameters.values()), 1.0 - decay)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Inside, the model has the means as its weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def adopt(self) -> None:
        """Leave the means in the model for good."""
        self._swap()

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self.means[name] = self.means[name], parameter.data

    def load(self, means: dict[str, Tensor]) -> None:
        """Go on from stored means."""
        for name, mean in self.means.items():
            mean.copy_(means[name])
