"""Muon's directions are orthogonal, and its steps those of torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from llm.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 6), (4, 12), (12, 4)])
def test_all_singular_values_become_nearly_one_and_the_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(3)
    matrix = torch.randn(shape, dtype=torch.float64)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonal(matrix) @ right.T
    values = found.diagonal()
    # The quintic trades exactness for speed: Jordan et al. give 0.7 to 1.2.
    assert values.min() > 0.65
    assert values.max() < 1.25
    torch.testing.assert_close(found, torch.diag(values), atol=1e-9, rtol=0)


def test_steps_are_those_of_torch() -> None:
    torch.manual_seed(4)
    ours = nn.Parameter(torch.randn(8, 5))
    theirs = nn.Parameter(ours.detach().clone())
    options = {"lr": 0.02, "momentum": 0.95, "weight_decay": 0.1}
    optimizers = (
        Muon([ours], **options),
        torch.optim.Muon([theirs], nesterov=True, adjust_lr_fn="match_rms_adamw", **options),
    )
    for _ in range(5):
        gradient = torch.randn(8, 5)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    # torch iterates in bfloat16.
    torch.testing.assert_close(ours, theirs, atol=3e-3, rtol=0)
    assert (ours - theirs).abs().max() > 0


def test_a_weight_without_gradient_is_left_alone() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5).step()
    assert torch.equal(weight, torch.ones(2, 2))
