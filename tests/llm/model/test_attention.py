"""What layers attend to: the twins' attention, nothing of padding or of the future, and what `forward` mixes by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from twin_models import VOCABULARY, build, twin_of

from llm.model.attention import BlockSizes, CrossAttention, Rotary, SelfAttention
from llm.model.config import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from llm.model.watching import watched

SIZES = {"width": 32, "heads": 4, "feed_forward": 48, "max_positions": 32}
DECODER = DecoderConfig(**SIZES, kv_heads=2, layers=3)
ENCODER = EncoderConfig(**SIZES, layers=2)
ENCODER_DECODER = EncoderDecoderConfig(**SIZES, encoder_layers=3, decoder_layers=2)

IDS = torch.randint(4, VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(5))
TARGET = torch.randint(4, VOCABULARY, (3, 7), generator=torch.Generator().manual_seed(6))
RIGHT = torch.arange(11) < torch.tensor([[7], [11], [3]])
LEFT = RIGHT.flip(1)
# By the name of the stack and whether it is cross-attention, one tensor a layer.
Found = Mapping[tuple[str, bool], list[Tensor]]


@torch.inference_mode()
def found_in(model: nn.Module, *arguments: Tensor, **options: Any) -> Found:
    found: dict[tuple[str, bool], list[Tensor]] = defaultdict(list)
    with watched(model) as seen:
        model(*arguments, **options)
    for one in seen:
        found[one.place.name, one.place.cross].append(one.probabilities)
        assert one.place.layer == len(found[one.place.name, one.place.cross])
    return found


@torch.inference_mode()
def twin_attention(model: nn.Module, ids: Tensor, mask: Tensor | None, **options: Any) -> Found:
    twin = twin_of(model, attention="eager")
    given = twin(ids, attention_mask=None if mask is None else mask.long(), output_attentions=True, **options)
    if not twin.config.is_encoder_decoder:
        return {("", False): given.attentions}
    return {
        ("encoder", False): given.encoder_attentions,
        ("decoder", False): given.decoder_attentions,
        ("decoder", True): given.cross_attentions,
    }


def check(found: Found, expected: Found, *, real: Tensor | None = None) -> None:
    """Layer by layer to 1e-5; `real` (B, T): which positions' own attention is compared, of models of one stack."""
    assert found.keys() == expected.keys()
    for key, layers in expected.items():
        assert len(layers) == len(found[key])
        for one, other in zip(found[key], layers, strict=True):
            chosen = [side if real is None else side.transpose(1, 2)[real] for side in (one, other)]
            torch.testing.assert_close(*chosen, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask", [None, RIGHT], ids=["unpadded", "padded"])
def test_an_encoder_attends_as_its_twin(mask: Tensor | None) -> None:
    model = build(ENCODER)
    check(found_in(model, IDS, mask=mask), twin_attention(model, IDS, mask))


def test_a_decoder_of_shared_keys_attends_as_its_twin() -> None:
    model = build(DECODER)
    check(found_in(model, IDS), twin_attention(model, IDS, None))
    positions = (LEFT.long().cumsum(1) - 1).clamp(min=0)
    expected = twin_attention(model, IDS, LEFT, position_ids=positions)
    # What a padding position attends to is nobody's business; it differs.
    check(found_in(model, IDS, mask=LEFT), expected, real=LEFT)


@pytest.mark.parametrize("mask", [None, RIGHT], ids=["unpadded", "padded"])
def test_an_encoder_decoder_attends_as_its_twin_to_itself_and_to_the_source(mask: Tensor | None) -> None:
    model = build(ENCODER_DECODER)
    found = found_in(model, IDS, TARGET, source_mask=mask)
    assert {key: layers[0].shape[2:] for key, layers in found.items()} == {
        ("encoder", False): (11, 11),
        ("decoder", False): (7, 7),
        ("decoder", True): (7, 11),
    }
    check(found, twin_attention(model, IDS, mask, decoder_input_ids=TARGET))


CALLS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...], dict[str, Tensor]]] = {
    "encoder": (lambda: build(ENCODER), (IDS,), {"mask": RIGHT}),
    "decoder": (lambda: build(DECODER), (IDS,), {"mask": LEFT}),
    "encoder-decoder": (lambda: build(ENCODER_DECODER), (IDS, TARGET), {"source_mask": RIGHT}),
}


@pytest.mark.parametrize("name", CALLS)
def test_rows_sum_to_1_and_hold_nothing_of_padding_or_of_the_future(name: str) -> None:
    make, arguments, options = CALLS[name]
    [mask] = options.values()
    for (stack, cross), layers in found_in(make(), *arguments, **options).items():
        for one in layers:
            torch.testing.assert_close(one.sum(dim=-1), torch.ones(one.shape[:3]), atol=1e-6, rtol=0)
            if stack != "encoder" and name != "encoder" and not cross:
                assert (one.triu(1) == 0).all()
            if one.shape[-1] == mask.shape[1]:
                hidden = ~mask[:, None, None, :].expand(one.shape)
                # Padding sees itself, since it must see something.
                own = torch.eye(*one.shape[2:], dtype=torch.bool) if name == "decoder" else torch.tensor(False)
                assert (one[hidden & ~own] == 0).all()


def attentions(dtype: torch.dtype) -> tuple[SelfAttention, CrossAttention]:
    torch.manual_seed(7)
    sizes = BlockSizes(width=32, heads=4, kv_heads=2, feed_forward=48, dropout=0.0)
    return SelfAttention(sizes, bias=False).to(dtype), CrossAttention(sizes, bias=True).to(dtype)


@pytest.mark.parametrize("rotary", [None, Rotary(torch.polar(torch.ones(5, 1, 4), torch.arange(20.0).view(5, 1, 4)))])
@pytest.mark.parametrize("causal", [True, False])
@torch.inference_mode()
def test_values_mixed_by_the_probabilities_are_what_self_attention_gives(causal: bool, rotary: Rotary | None) -> None:
    attention, _ = attentions(torch.float32)
    x = torch.randn(2, 5, 32)
    options: dict[str, Any] = {"mask": None, "causal": causal, "rotary": rotary, "cache": None, "layer": 0}
    weights = attention.probabilities(x, **options)
    # The last of the three parts; each of its heads serves two heads of queries.
    values = attention.query_key_value(x)[..., -16:].view(2, 5, 2, 8).repeat_interleave(2, dim=2)
    mixed = torch.einsum("bhts,bshd->bthd", weights, values).flatten(2)
    torch.testing.assert_close(attention.output(mixed), attention(x, **options), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_values_mixed_by_the_probabilities_are_what_cross_attention_gives() -> None:
    _, attention = attentions(torch.float32)
    x, memory = torch.randn(2, 5, 32), torch.randn(2, 6, 32)
    mask = torch.tensor([True, True, False, True, True, False])
    options: dict[str, Any] = {"memory": memory, "mask": mask[None, :], "cache": None, "layer": 0}
    weights = attention.probabilities(x, **options)
    assert (weights[..., ~mask] == 0).all()
    values = attention.key_value(memory)[..., 32:].view(2, 6, 4, 8)
    mixed = torch.einsum("bhts,bshd->bthd", weights, values).flatten(2)
    torch.testing.assert_close(attention.output(mixed), attention(x, **options), atol=1e-5, rtol=0)


@torch.inference_mode()
def test_a_call_that_goes_on_with_a_cache_attends_as_the_whole_call() -> None:
    model = build(DECODER)
    expected = found_in(model, IDS)["", False]
    cache = model.new_cache(3, 11)
    plain = model(IDS[:, :6], cache=cache)
    found = found_in(model, IDS[:, 6:], cache=cache)["", False]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other[:, :, 6:], atol=1e-5, rtol=0)
    assert cache.used == 11
    assert plain.shape[1] == 6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@torch.inference_mode()
def test_probabilities_have_the_precision_of_the_model(dtype: torch.dtype) -> None:
    attention, _ = attentions(dtype)
    x = torch.randn(1, 4, 32, dtype=dtype)
    found = attention.probabilities(x, mask=None, causal=True, rotary=None, cache=None, layer=0)
    assert found.dtype == dtype
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(1, 4, 4, dtype=dtype), atol=0.02, rtol=0)
