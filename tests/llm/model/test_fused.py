"""The fused steps give the values and gradients of their plain formulas, to double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llm.model.fused import rms_norm, rotated_heads, swiglu
from llm.model.positions import rotary_table


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


def test_rotation_turns_each_pair_by_its_position_times_its_frequency() -> None:
    heads = double(2, 5, 4, 6)  # two query heads, a key head and a value head of width 6
    cosines, sines = (table.double()[:, None] for table in rotary_table(5, 6))
    queries, keys, values = rotated_heads(heads, cosines, sines, parts=(2, 1, 1))
    pairs = torch.complex(heads[..., :3], heads[..., 3:])
    turns = torch.complex(cosines, sines)  # e^(i angle): multiplying by it is the rotation
    turned = pairs[:, :, :3] * turns
    expected = torch.cat((turned.real, turned.imag), dim=-1)
    torch.testing.assert_close(torch.cat((queries, keys), dim=2), expected)
    assert torch.equal(values, heads[:, :, 3:])


def test_rotation_has_the_gradient_that_finite_differences_give() -> None:
    cosines, sines = (table.double()[:, None] for table in rotary_table(3, 4))
    assert torch.autograd.gradcheck(
        lambda heads: rotated_heads(heads, cosines, sines, parts=(2, 1, 1)), (double(2, 3, 4, 4),)
    )


def test_swiglu_gates_the_second_half_with_the_first() -> None:
    hidden = double(3, 8)
    torch.testing.assert_close(swiglu(hidden), F.silu(hidden[:, :4]) * hidden[:, 4:])
    assert torch.autograd.gradcheck(swiglu, (hidden,))


def test_rms_norm_is_that_of_torch_with_and_without_gradients() -> None:
    x, weight = double(2, 3, 6), double(6)
    expected = F.rms_norm(x, (6,), weight, 1e-6)
    torch.testing.assert_close(rms_norm(x, weight, epsilon=1e-6), expected)
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(x, weight, epsilon=1e-6), expected)
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, epsilon=1e-6), (x, weight))
