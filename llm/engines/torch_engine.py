"""Our engine: the searches of `llm.decoding` over batches of like length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from llm.batching import chunks, pad
from llm.config import Config
from llm.decoding.config import SearchConfig
from llm.decoding.search import search, search_one
from llm.decoding.single_token import DecoderStep, EncoderDecoderStep
from llm.decoding.steps import DecoderOnlySteps, EncoderDecoderSteps, NextToken
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.progress import track
from llm.tokenizer import EOS_ID, PAD_ID

A = TypeVar("A")
B = TypeVar("B")

# Texts times beams. Fewer are written together: a product with few rows takes as long as one with some more.
_LEAST_ROWS = 32


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

    def write(
        self, inputs: Sequence[Sequence[int]], config: SearchConfig, *, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        """See Engine: the longest inputs first, so that a batch holds little padding."""
        own = range(len(inputs)) if numbers is None else numbers
        reading = _BATCHES[type(self.model)]
        step = self._step  # laid out before several threads want it
        workers = self._workers(len(inputs), beams=config.num_beams)
        rows = min(reading.rows, -(-len(inputs) // workers)) if inputs else 1
        batches = chunks([len(ids) for ids in inputs], rows=rows, tokens=reading.tokens)

        def write_batch(batch: list[int]) -> list[list[int]]:
            steps = reading.steps(self.model, step, [inputs[row] for row in batch])
            return search(steps, config, eos_id=EOS_ID, pad_id=PAD_ID, numbers=[own[row] for row in batch])

        written: list[list[int]] = [[] for _ in inputs]
        done = _one_thread_each(write_batch, batches, workers=workers) if workers > 1 else map(write_batch, batches)
        for batch, texts in zip(batches, track(done, label=reading.label, total=len(batches)), strict=True):
            for row, text in zip(batch, texts, strict=True):
                written[row] = text
        return written

    def stream(self, ids: Sequence[int], config: SearchConfig) -> Iterator[int]:
        """See Engine: beam search may still change all of a text at its last token, so it writes the whole first."""
        if config.num_beams > 1:
            yield from self.write([ids], config)[0]
            return
        steps = _BATCHES[type(self.model)].steps(self.model, self._step, [ids])
        yield from search_one(steps, config, eos_id=EOS_ID)

    def independent(self, config: Config) -> bool:
        """See Engine."""
        del config
        return True

    def _workers(self, texts: int, *, beams: int) -> int:
        """How many batches are written at once: threads that share a batch wait for each other at every operation."""
        if next(self.model.parameters()).is_cuda:
            return 1
        return max(1, min(torch.get_num_threads(), texts, texts * beams // _LEAST_ROWS))


def _one_thread_each(work: Callable[[A], B], items: Sequence[A], *, workers: int) -> Iterator[B]:
    """`work` of each item, in order, `workers` at a time, each with one of torch's threads."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(
            workers, thread_name_prefix="writer", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            yield from pool.map(work, items)
    finally:
        # What a thread sets also holds for threads to come, and for MKL.
        torch.set_num_threads(threads)
