"""Tiny models and their twins in transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
import torch
import transformers
from torch import nn

from llm.model.config import DecoderConfig, EncoderDecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.twins import to_twin, twin_config

M = TypeVar("M", bound=nn.Module)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models of this size are far slower on several threads than on one, above all when tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_decoder() -> Callable[..., DecoderModel]:
    def make(*, seed: int, vocabulary: int = 13) -> DecoderModel:
        sizes = DecoderConfig(width=32, heads=4, kv_heads=2, layers=2, feed_forward=48, max_positions=48)
        return spread(DecoderModel(sizes, vocabulary), seed=seed)

    return make


@pytest.fixture
def make_translator() -> Callable[..., EncoderDecoderModel]:
    def make(*, seed: int, vocabulary: int = 13) -> EncoderDecoderModel:
        sizes = EncoderDecoderConfig(
            width=32, heads=4, encoder_layers=2, decoder_layers=2, feed_forward=48, max_positions=48
        )
        return spread(EncoderDecoderModel(sizes, vocabulary), seed=seed)

    return make


@pytest.fixture
def make_twin() -> Callable[[nn.Module], transformers.GenerationMixin]:
    def make(model: nn.Module) -> transformers.GenerationMixin:
        config = transformers.AutoConfig.for_model(**twin_config(model))
        twin = getattr(transformers, config.architectures[0])(config)
        missing, unexpected = twin.load_state_dict(to_twin(model), strict=False)
        assert not unexpected
        assert all("embed" in name or "lm_head" in name for name in missing)  # tied to the shared matrix
        return twin.eval()

    return make


def spread(model: M, *, seed: int) -> M:
    """Weights large enough for clear choices: among the near ties of a fresh model, rounding would choose."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=generator)
    return model.eval()
