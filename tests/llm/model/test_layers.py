"""Blocks inside their assemblies: whatever way matrices are multiplied, the gradients are those of float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from llm.model.config import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.encoder import EncoderClassifier
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.products import Products, onednn_works, products

SIZES = {"width": 32, "heads": 4, "feed_forward": 48, "max_positions": 24}
VOCABULARY = 50


def decoder(kv_heads: int) -> nn.Module:
    return DecoderModel(DecoderConfig(**SIZES, kv_heads=kv_heads, layers=2), VOCABULARY)


def translator() -> nn.Module:
    return EncoderDecoderModel(EncoderDecoderConfig(**SIZES, encoder_layers=2, decoder_layers=2), VOCABULARY)


def classifier() -> nn.Module:
    return EncoderClassifier(EncoderConfig(**SIZES, layers=2), VOCABULARY, labels=["a", "b", "c"])


MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "decoder": (lambda: decoder(4), 1),
    "decoder_of_shared_keys": (lambda: decoder(2), 1),
    "encoder_decoder": (translator, 2),
    "encoder": (classifier, 1),
}


def gradients(model: nn.Module, inputs: list[Tensor], kind: Products) -> dict[str, Tensor]:
    model.zero_grad()
    with products(kind, torch.device("cpu")):
        scores = model(*inputs).float()
    (scores * torch.linspace(-1, 1, scores.numel()).view(scores.shape)).sum().backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        pytest.param("onednn", 1e-4, marks=pytest.mark.skipif(not onednn_works(), reason="no oneDNN here")),
        ("bfloat16", 0.1),
    ],
)
def test_every_way_to_multiply_gives_the_gradients_of_float32(name: str, kind: Products, tolerance: float) -> None:
    make, texts = MODELS[name]
    torch.manual_seed(3)
    model = make().eval()
    inputs = [torch.randint(4, VOCABULARY, (3, 11 + number)) for number in range(texts)]
    expected = {key: value.clone() for key, value in gradients(model, inputs, "float32").items()}
    found = gradients(model, inputs, kind)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        # A bias of the keys changes no score: its gradient is nothing but rounding.
        if value.norm() > 1e-3:
            assert (found[key] - value).norm() < tolerance * value.norm(), key
