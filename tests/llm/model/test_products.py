"""Every way to multiply gives what torch gives, forward and backward."""

from __future__ import annotations

import pytest
import torch

from llm.model.products import (
    Linear,
    Products,
    choose_products,
    fast_products,
    multiply,
    onednn_works,
    products,
    weight_gradient,
)

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(not onednn_works(), reason="this torch cannot multiply through oneDNN")


def gradients(kind: Products, *, bias: bool, outer: int) -> list[torch.Tensor]:
    """The result and all gradients of one product of (3, 5, 7) with (outer, 7)."""
    torch.manual_seed(1)
    layer = Linear(7, outer, bias=bias)
    x = torch.randn(3, 5, 7, requires_grad=True)
    with products(kind, CPU):
        out = layer(x)
    (out.float() * torch.arange(out.numel()).view(out.shape)).sum().backward()
    found = [out, x.grad, layer.weight.grad] + ([layer.bias.grad] if bias else [])
    assert all(tensor is not None for tensor in found)
    return [tensor for tensor in found if tensor is not None]


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outer", [4, 9])  # narrower and wider than the input: the weight's gradient takes two ways
def test_onednn_gives_the_result_and_gradients_of_torch(bias: bool, outer: int) -> None:
    for expected, found in zip(
        gradients("float32", bias=bias, outer=outer), gradients("onednn", bias=bias, outer=outer), strict=True
    ):
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


@needs_onednn
def test_onednn_is_used_inside_the_context_only() -> None:
    x = torch.ones(2, 3, requires_grad=True)
    weight = torch.ones(4, 3, requires_grad=True)
    with products("onednn", CPU):
        assert "OneDnnProduct" in str(multiply(x, weight).grad_fn.next_functions[0][0].name())
    assert "OneDnnProduct" not in str(multiply(x, weight).grad_fn)


@needs_onednn
def test_double_precision_is_never_rounded_by_onednn() -> None:
    x, weight = torch.randn(5, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    with products("onednn", CPU):
        assert torch.equal(multiply(x, weight), x @ weight.T)


def test_bfloat16_products_are_rounded_to_eight_bits_of_mantissa() -> None:
    expected, found = gradients("float32", bias=True, outer=4)[0], gradients("bfloat16", bias=True, outer=4)[0]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2**-6, atol=2**-6)


@pytest.mark.parametrize("kind", ["float32", pytest.param("onednn", marks=needs_onednn), "bfloat16"])
def test_a_weight_that_changes_inside_the_context_is_multiplied_as_it_is_now(kind: Products) -> None:
    layer, x = Linear(4, 4), torch.ones(2, 4)
    with products(kind, CPU):
        before = layer(x)
        with torch.no_grad():
            layer.weight += 1.0
        after = layer(x)
    torch.testing.assert_close(after - before, torch.full_like(after, 4.0), rtol=2**-5, atol=0)


@pytest.mark.parametrize("kind", ["float32", pytest.param("onednn", marks=needs_onednn)])
@pytest.mark.parametrize("outer", [2, 6])
def test_the_gradient_of_a_weight_is_summed_over_all_rows(kind: Products, outer: int) -> None:
    torch.manual_seed(2)
    gradient, x = torch.randn(11, outer), torch.randn(11, 4)
    with products(kind, CPU):
        found = weight_gradient(gradient, x)
    torch.testing.assert_close(found, gradient.T @ x, rtol=1e-5, atol=1e-5)


def test_the_fast_way_keeps_the_precision_and_is_onednn_s_where_that_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr("llm.model.products.mkl_is_fast", lambda: True)
    assert fast_products(torch.float32, cpu) == "float32"
    monkeypatch.setattr("llm.model.products.mkl_is_fast", lambda: False)
    assert fast_products(torch.float32, cpu) == ("onednn" if onednn_works() else "float32")
    assert fast_products(torch.float64, cpu) == "float32"
    assert fast_products(torch.bfloat16, cpu) == "bfloat16"
    assert fast_products(torch.float32, torch.device("cuda")) == "float32"
    monkeypatch.setattr("llm.model.products.onednn_works", lambda: False)
    assert fast_products(torch.float32, cpu) == "float32"


def test_a_precision_that_is_named_is_kept() -> None:
    assert choose_products("bfloat16", CPU) == "bfloat16"
    assert choose_products("float32", CPU) == fast_products(torch.float32, CPU)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("vendor_id : GenuineIntel flags : avx512f amx_bf16", "bfloat16"),
        ("vendor_id : AuthenticAMD flags : avx512f avx512_bf16", "bfloat16"),
        ("vendor_id : GenuineIntel flags : avx512f avx512_vnni", "float32"),
        pytest.param("vendor_id : AuthenticAMD flags : avx2", "onednn", marks=needs_onednn),
        pytest.param("", "onednn", marks=needs_onednn),
    ],
)
def test_the_kind_of_processor_decides_how_a_training_multiplies(
    words: str, expected: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.model.products._processor", lambda: frozenset(words.split()))
    monkeypatch.setattr("torch.backends.mkl.is_available", lambda: True)
    assert choose_products("auto", CPU) == expected
