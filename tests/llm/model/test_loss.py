"""The chunked cross-entropy is torch's, with its gradients, however many chunks it takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llm.model import loss
from llm.model.loss import projected_cross_entropy
from llm.model.products import products

POSITIONS, WIDTH, VOCABULARY = 37, 8, 50


def inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(4)
    states = torch.randn(POSITIONS, WIDTH, dtype=dtype, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, dtype=dtype, requires_grad=True)
    return states, weight, torch.randint(0, VOCABULARY, (POSITIONS,))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("chunk_positions", [1, 10, 100])
def test_it_equals_the_cross_entropy_of_torch(
    chunk_positions: int, label_smoothing: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "_CHUNK_SCORES", chunk_positions * VOCABULARY)
    states, weight, labels = inputs(torch.float64)
    found = projected_cross_entropy(states, weight, labels, label_smoothing=label_smoothing)
    expected = F.cross_entropy(states @ weight.T, labels, reduction="sum", label_smoothing=label_smoothing)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for one, other in zip(
        torch.autograd.grad(found / 3, (states, weight)),
        torch.autograd.grad(expected / 3, (states, weight)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_an_all_but_impossible_label_has_a_finite_loss() -> None:
    states = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[0.0], [200.0]], requires_grad=True)
    found = projected_cross_entropy(states, weight, torch.tensor([0]), label_smoothing=0.0)
    assert found.item() == pytest.approx(200.0)
    found.backward()
    assert states.grad is not None
    assert states.grad.item() == pytest.approx(200.0)


def test_it_works_without_gradients() -> None:
    states, weight, labels = inputs(torch.float32)
    with torch.no_grad():
        found = projected_cross_entropy(states, weight, labels, label_smoothing=0.1)
    expected = F.cross_entropy(states @ weight.T, labels, reduction="sum", label_smoothing=0.1)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


def test_products_in_bfloat16_still_sum_in_single_precision() -> None:
    states, weight, labels = inputs(torch.float32)
    with products("bfloat16", states.device):
        found = projected_cross_entropy(states, weight, labels, label_smoothing=0.0)
    assert found.dtype == torch.float32
    expected = F.cross_entropy(states @ weight.T, labels, reduction="sum")
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=0)
    found.backward()
    assert weight.grad is not None
    reference = torch.autograd.grad(expected, weight)[0]
    assert (weight.grad - reference).norm() < 0.02 * reference.norm()
