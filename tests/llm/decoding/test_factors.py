"""A factor that is laid out for few rows multiplies as the weight itself does."""

from __future__ import annotations

import platform

import pytest
import torch
from torch.nn import functional as F

from llm.decoding.factors import Factor


def on_x86() -> bool:
    return platform.machine() in ("x86_64", "AMD64")


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
@pytest.mark.parametrize("packable", [True, False])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_products_and_sums_are_those_of_the_weight(
    dtype: torch.dtype, packable: bool, biased: bool, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packable:
        monkeypatch.setattr("llm.decoding.factors.onednn_works", lambda: False)
    torch.manual_seed(1)
    weight, x, residual = (torch.randn(shape, dtype=dtype) for shape in ((13, 24), (rows, 24), (rows, 13)))
    bias = torch.randn(13, dtype=dtype) if biased else None
    factor = Factor(weight, bias, dtype=dtype)
    expected = F.linear(x, weight, bias)
    before = residual.clone()
    torch.testing.assert_close(factor.product(x), expected)
    torch.testing.assert_close(factor.onto(residual, x), residual + expected)
    assert torch.equal(residual, before)


@pytest.mark.parametrize("packable", [True, False])
def test_rounded_weights_leave_the_residual_in_its_own_precision(
    packable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not packable:
        monkeypatch.setattr("llm.decoding.factors.onednn_works", lambda: False)
    torch.manual_seed(2)
    weight, bias, x = torch.randn(8, 16), torch.randn(8), torch.randn(3, 16)
    residual = 1000 + torch.rand(3, 8)
    factor = Factor(weight, bias, dtype=torch.bfloat16)
    rounded = F.linear(x.bfloat16(), weight.bfloat16()).float()
    torch.testing.assert_close(factor.product(x), rounded + bias, rtol=2**-7, atol=2**-7)
    found = factor.onto(residual, x)
    assert found.dtype == torch.float32
    # A residual of a thousand would lose four units when rounded to bfloat16.
    torch.testing.assert_close(found, residual + bias + rounded, rtol=0, atol=0.1)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_rounded_product_is_the_product_in_either_precision(rows: int, biased: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    weight, x = torch.randn(8, 16), torch.randn(rows, 16)
    factor = Factor(weight, torch.randn(8) if biased else None, dtype=dtype)
    found = factor.rounded(x)
    assert found.dtype in (torch.float32, dtype)
    torch.testing.assert_close(found.float(), factor.product(x), rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("fbgemm", [True, False])
def test_halves_round_the_weight_alone(rows: int, fbgemm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fbgemm:
        monkeypatch.setattr("llm.decoding.factors._fbgemm_works", lambda: False)
    torch.manual_seed(5)
    weight, bias, x, residual = torch.randn(13, 24), torch.randn(13), torch.randn(rows, 24), torch.randn(rows, 13)
    factor = Factor(weight, bias, dtype=torch.float16)
    assert factor.halves == (fbgemm and on_x86())
    expected = F.linear(x, weight.half().float(), bias)
    # Without FBGEMM the inputs are rounded too: eleven bits of mantissa, two dozen terms.
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if factor.halves else {"rtol": 2**-8, "atol": 2**-7}
    torch.testing.assert_close(factor.product(x), expected, **tolerance)
    torch.testing.assert_close(factor.onto(residual, x), residual + expected, **tolerance)


@pytest.mark.parametrize("fast", [True, False])
def test_one_row_of_any_weight_goes_to_mkl_where_that_is_fast(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.decoding.factors.mkl_is_fast", lambda: fast)
    torch.manual_seed(6)
    weight, x, residual = torch.randn(1024, 512), torch.randn(1, 512), torch.randn(1, 1024)
    factor = Factor(weight, dtype=torch.float32)
    assert (factor.for_one is not None) == fast
    torch.testing.assert_close(factor.product(x), F.linear(x, weight), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(factor.onto(residual, x), residual + F.linear(x, weight), rtol=1e-4, atol=1e-4)


def test_one_row_of_a_small_weight_is_not_rounded_at_all() -> None:
    torch.manual_seed(4)
    weight, x, residual = torch.randn(8, 16), torch.randn(1, 16), torch.randn(1, 8)
    factor = Factor(weight, dtype=torch.bfloat16)
    assert factor.packed, "oneDNN is part of torch for CPUs"
    torch.testing.assert_close(factor.product(x), F.linear(x, weight))
    torch.testing.assert_close(factor.onto(residual, x), residual + F.linear(x, weight))
    large = Factor(torch.randn(1024, 512), dtype=torch.bfloat16)
    assert large.for_one is None
