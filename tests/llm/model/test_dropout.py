"""Dropout drops its share, keeps the mean, and lets gradients through where it let values through."""

from __future__ import annotations

import pytest
import torch

from llm.model.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_that_is_dropped_and_the_mean_are_right(p: float) -> None:
    torch.manual_seed(6)
    out = Dropout(p)(torch.ones(400, 1001))
    dropped = (out == 0).double().mean().item()
    assert dropped == pytest.approx(p, abs=4 * (p * (1 - p) / out.numel()) ** 0.5)
    assert out.max().item() == pytest.approx(1 / (1 - p), rel=1e-3)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)


def test_neighbours_that_share_a_random_number_are_dropped_independently() -> None:
    torch.manual_seed(7)
    kept = (Dropout(0.5)(torch.ones(40_000, 4)) != 0).double()
    correlations = torch.corrcoef(kept.T) - torch.eye(4, dtype=torch.float64)
    assert correlations.abs().max().item() < 0.03


def test_gradients_pass_where_values_did() -> None:
    torch.manual_seed(8)
    x = torch.ones(50, 3, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_the_random_state_decides_the_mask() -> None:
    x, drop = torch.ones(100), Dropout(0.5)
    torch.manual_seed(9)
    first, second = drop(x), drop(x)
    torch.manual_seed(9)
    assert torch.equal(drop(x), first)
    assert not torch.equal(first, second)


def test_nothing_is_dropped_in_evaluation_or_at_a_share_of_zero() -> None:
    x = torch.ones(100)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
