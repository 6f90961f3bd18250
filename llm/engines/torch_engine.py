"""Our engine: the searches of `llm.decoding` over batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from llm.batching import chunks, pad
from llm.decoding.config import SearchConfig
from llm.decoding.search import search
from llm.decoding.single_token import DecoderStep, EncoderDecoderStep
from llm.decoding.steps import DecoderOnlySteps, EncoderDecoderSteps, NextToken
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.progress import track
from llm.tokenizer import EOS_ID, PAD_ID


@dataclass(frozen=True)
class _Batches:
    """How an assembly reads inputs; at most `rows` of them and `tokens` padded tokens are read together."""

    rows: int
    tokens: int
    label: str
    step: Callable[..., Any]
    steps: Callable[[Any, Any, Sequence[Sequence[int]]], NextToken]


def _continue(model: DecoderModel, step: DecoderStep, prompts: Sequence[Sequence[int]]) -> NextToken:
    return DecoderOnlySteps(model, prompts, pad_id=PAD_ID, step=step)


def _translate(model: EncoderDecoderModel, step: EncoderDecoderStep, sources: Sequence[Sequence[int]]) -> NextToken:
    padded = torch.from_numpy(pad([np.asarray(source, dtype=np.int32) for source in sources], value=PAD_ID))
    return EncoderDecoderSteps(model, padded, padded != PAD_ID, start_id=PAD_ID, step=step)


_BATCHES: dict[type[nn.Module], _Batches] = {
    DecoderModel: _Batches(rows=32, tokens=16384, label="writing", step=DecoderStep, steps=_continue),
    EncoderDecoderModel: _Batches(
        rows=128, tokens=8192, label="translating", step=EncoderDecoderStep, steps=_translate
    ),
}


class TorchEngine:
    """See llm.engines.base.Engine; `model` is in evaluation mode, on its device, and no longer trained."""

    def __init__(self, model: nn.Module, *, dtype: torch.dtype | None = None) -> None:
        self.model = model
        self.dtype = dtype  # of the products inside the blocks, one token at a time; None: the model's

    @cached_property
    def _step(self) -> Any:
        # Laid out once, at the first text: a model that only scores needs no second copy of its weights.
        return _BATCHES[type(self.model)].step(self.model, dtype=self.dtype)

    def write(self, inputs: Sequence[Sequence[int]], config: SearchConfig) -> list[list[int]]:
        """See Engine: the longest inputs first, so that a batch holds little padding.

        One random stream serves the call, so texts of different batches do not share their random numbers.
        """
        reading = _BATCHES[type(self.model)]
        generator = torch.Generator().manual_seed(config.seed)
        written: list[list[int]] = [[] for _ in inputs]
        batches = chunks([len(ids) for ids in inputs], rows=reading.rows, tokens=reading.tokens)
        for batch in track(batches, label=reading.label):
            steps = reading.steps(self.model, self._step, [inputs[row] for row in batch])
            texts = search(steps, config, eos_id=EOS_ID, pad_id=PAD_ID, generator=generator)
            for row, text in zip(batch, texts, strict=True):
                written[row] = text
        return written
