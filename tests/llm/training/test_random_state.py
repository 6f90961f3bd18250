"""A random state is gone back to on the device that it was taken on."""

from __future__ import annotations

import pytest
import torch

from llm.training.random_state import random_state, restore_random_state, seeded

CPU = torch.device("cpu")
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=gpu)])
def test_what_is_drawn_after_going_back_is_the_same(name: str) -> None:
    device = torch.device(name)
    with seeded(3, device):
        torch.rand(5, device=device)
        state = random_state(device)
        drawn = torch.rand(5), torch.rand(5, device=device)
        restore_random_state(state, device)
        again = torch.rand(5), torch.rand(5, device=device)
    assert all(torch.equal(one, other) for one, other in zip(drawn, again, strict=True))


@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=gpu)])
def test_a_seed_decides_what_is_drawn_and_the_caller_notices_nothing(name: str) -> None:
    device = torch.device(name)
    before = random_state(device)
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed, device):
            drawn.append(torch.rand(5, device=device))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    after = random_state(device)
    assert all(torch.equal(before[kind], after[kind]) for kind in before)


@gpu
def test_a_state_of_a_cpu_leaves_the_generator_of_a_gpu_alone() -> None:
    device = torch.device("cuda")
    with seeded(3, device):
        before = torch.cuda.get_rng_state(device)
        restore_random_state(random_state(CPU), device)
        assert torch.equal(torch.cuda.get_rng_state(device), before)
