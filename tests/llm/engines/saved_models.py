"""Tiny models in folders of their own, with inputs that they can read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from llm.model.config import DecoderConfig, EncoderDecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.folder import save_model
from llm.tokenizer import TextTokenizer

VOCABULARY = 260


@dataclass(frozen=True)
class Saved:
    """A model, the folder that holds it, and inputs that it can read."""

    model: nn.Module
    folder: Path
    tokenizer: TextTokenizer
    inputs: list[list[int]]


def spread(model: DecoderModel, *, seed: int) -> DecoderModel:
    """Large weights: among the near ties of a fresh model, rounding would choose; </s> wins now and then."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3, generator=generator)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        model.embedding.weight[2] *= 2.0
    return model.eval()


def make_decoder() -> nn.Module:
    sizes = DecoderConfig(width=32, heads=4, kv_heads=2, layers=2, feed_forward=48, max_positions=48)
    return spread(DecoderModel(sizes, VOCABULARY), seed=3)


def make_encoder_decoder() -> nn.Module:
    """It has begun to learn to sort: it ends texts of many lengths, and it has doubts."""
    sizes = EncoderDecoderConfig(
        width=32, heads=4, encoder_layers=2, decoder_layers=2, feed_forward=48, max_positions=48
    )
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EncoderDecoderModel(sizes, VOCABULARY)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        source = torch.randint(4, 16, (64, 8), generator=generator)
        lengths = torch.randint(0, 9, (64, 1), generator=generator)
        source.masked_fill_(torch.arange(8) >= lengths, 0)
        labels = functional.pad(source.sort(dim=1, descending=True).values, (0, 1)).scatter(1, lengths, 2)
        source = functional.pad(source, (0, 1)).scatter(1, lengths, 2)
        scores = model(source, functional.pad(labels[:, :-1], (1, 0)), source_mask=source != 0)
        optimizer.zero_grad()
        functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=0).backward()
        optimizer.step()
    return model.eval()


def make_prompts(generator: torch.Generator) -> list[list[int]]:
    return [[1, *torch.randint(4, 30, (n % 9,), generator=generator).tolist()] for n in range(90)]


def make_sources(generator: torch.Generator) -> list[list[int]]:
    return [[*torch.randint(4, 16, (1 + n % 8,), generator=generator).tolist(), 2] for n in range(96)]


def save(
    make: Callable[[], nn.Module],
    make_inputs: Callable[[torch.Generator], list[list[int]]],
    folder: Path,
    tokenizer: TextTokenizer,
) -> Saved:
    model = make()
    save_model(folder, model, description={}, generation=None)
    tokenizer.save(folder)
    return Saved(model, folder, tokenizer, make_inputs(torch.Generator().manual_seed(4)))
