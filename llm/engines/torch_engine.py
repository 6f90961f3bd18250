"""Our engine: the searches of `llm.decoding` over batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from llm.batching import chunks, pad
from llm.decoding.config import SearchConfig
from llm.decoding.search import search
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
    steps: Callable[[Any, Sequence[Sequence[int]]], NextToken]


def _continue(model: DecoderModel, prompts: Sequence[Sequence[int]]) -> NextToken:
    return DecoderOnlySteps(model, prompts, pad_id=PAD_ID)


def _translate(model: EncoderDecoderModel, sources: Sequence[Sequence[int]]) -> NextToken:
    padded = torch.from_numpy(pad([np.asarray(source, dtype=np.int32) for source in sources], value=PAD_ID))
    return EncoderDecoderSteps(model, padded, padded != PAD_ID, start_id=PAD_ID)


_BATCHES: dict[type[nn.Module], _Batches] = {
    DecoderModel: _Batches(rows=32, tokens=16384, label="writing", steps=_continue),
    EncoderDecoderModel: _Batches(rows=128, tokens=8192, label="translating", steps=_translate),
}


class TorchEngine:
    """See llm.engines.base.Engine; `model` is in evaluation mode, on the device that is to be used."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def write(self, inputs: Sequence[Sequence[int]], config: SearchConfig) -> list[list[int]]:
        """See Engine: the longest inputs first, so that a batch holds little padding.

        One random stream serves the call, so texts of different batches do not share their random numbers.
        """
        reading = _BATCHES[type(self.model)]
        generator = torch.Generator().manual_seed(config.seed)
        written: list[list[int]] = [[] for _ in inputs]
        batches = chunks([len(ids) for ids in inputs], rows=reading.rows, tokens=reading.tokens)
        for batch in track(batches, label=reading.label):
            steps = reading.steps(self.model, [inputs[row] for row in batch])
            texts = search(steps, config, eos_id=EOS_ID, pad_id=PAD_ID, generator=generator)
            for row, text in zip(batch, texts, strict=True):
                written[row] = text
        return written
