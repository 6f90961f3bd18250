"""The random state of a training, on the CPU and on its device: what dropout draws from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

ON_CPU = "random_state"
_ON_CUDA = "random_state.cuda"


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that a training on `device` draws from, as byte tensors on the CPU."""
    state = {ON_CPU: torch.get_rng_state()}
    return state | {_ON_CUDA: torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def restore_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on where `random_state` was; one that was taken on a CPU leaves the generator of a GPU alone."""
    torch.set_rng_state(state[ON_CPU])
    if device.type == "cuda" and _ON_CUDA in state:
        torch.cuda.set_rng_state(state[_ON_CUDA], device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, generators begin at `seed`; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
