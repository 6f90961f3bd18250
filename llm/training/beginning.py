"""What a training began with: where it goes back to when it must before there is a checkpoint."""

from __future__ import annotations

from torch import nn

from llm.training.random_state import random_state, restore_random_state


class Beginning:
    """The weights of `model` and the random state, as they are now."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self._device = next(model.parameters()).device
        self._random_state = random_state(self._device)

    def restore(self, model: nn.Module) -> None:
        """Put both back."""
        model.load_state_dict(self._weights)
        restore_random_state(self._random_state, self._device)
