"""The fused steps give the values and gradients of their plain formulas, to double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from llm.model.fused import pairs_together, rms_norm, rotated_heads, swiglu
from llm.model.positions import rotary_table


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(5)


def turns_of(length: int, width: int) -> Tensor:
    cosines, sines = (table.double()[:, None] for table in rotary_table(length, width))
    return torch.complex(cosines, sines)


def test_rotation_turns_each_pair_by_its_position_times_its_frequency() -> None:
    heads = double(2, 5, 4, 6)  # two query heads, a key head and a value head of width 6
    queries, keys, values = rotated_heads(heads, turns_of(5, 6), parts=(2, 1, 1))
    cosines, sines = rotary_table(5, 6)
    for position, pair in ((0, 0), (3, 0), (4, 2)):
        cosine, sine = cosines[position, pair].item(), sines[position, pair].item()
        first, second = heads[1, position, 2, 2 * pair : 2 * pair + 2].tolist()
        expected = [first * cosine - second * sine, first * sine + second * cosine]
        assert keys[1, position, 0, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(expected)
    torch.testing.assert_close(queries.norm(dim=-1), heads[:, :, :2].norm(dim=-1))
    assert torch.equal(values, heads[:, :, 3:])


def test_rotation_has_the_gradient_that_finite_differences_give() -> None:
    turns = turns_of(3, 4)
    assert torch.autograd.gradcheck(lambda heads: rotated_heads(heads, turns, parts=(2, 1, 1)), (double(2, 3, 4, 4),))


def test_rotation_of_bfloat16_is_that_of_float32_rounded() -> None:
    heads, turns = torch.randn(2, 5, 4, 6).bfloat16().requires_grad_(), turns_of(5, 6).to(torch.complex64)
    single = heads.detach().float().requires_grad_()
    queries, expected = (rotated_heads(x, turns, parts=(2, 1, 1))[0] for x in (heads, single))
    assert queries.dtype == torch.bfloat16
    assert torch.equal(queries, expected.bfloat16())
    upstream = torch.randn(2, 5, 2, 6).bfloat16()
    found, reference = torch.autograd.grad(queries, heads, upstream), torch.autograd.grad(expected, single, upstream)
    assert torch.equal(found[0], reference[0].bfloat16())


def test_coordinates_that_turn_together_come_to_lie_side_by_side_in_queries_and_keys_only() -> None:
    weight = torch.arange(3 * 4.0)[:, None]  # a query, a key and a value head of width 4
    found = pairs_together(weight, heads=2, width=4)
    assert found.flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7, 8, 9, 10, 11]


def test_swiglu_gates_its_second_argument_with_the_first() -> None:
    gate, up = double(3, 4), double(3, 4)
    torch.testing.assert_close(swiglu(gate, up), F.silu(gate) * up)
    assert torch.autograd.gradcheck(swiglu, (gate, up))


def test_rms_norm_is_that_of_torch_with_and_without_gradients() -> None:
    x, weight = double(2, 3, 6), double(6)
    expected = F.rms_norm(x, (6,), weight, 1e-6)
    torch.testing.assert_close(rms_norm(x, weight, epsilon=1e-6), expected)
    with torch.no_grad():
        torch.testing.assert_close(rms_norm(x, weight, epsilon=1e-6), expected)
    assert torch.autograd.gradcheck(lambda x, weight: rms_norm(x, weight, epsilon=1e-6), (x, weight))
