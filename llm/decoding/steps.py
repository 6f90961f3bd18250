"""What a search asks of a model: scores of the next token, and to keep, drop or repeat rows of the batch.

Shapes: B batch, T new tokens, S source length, V vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from llm.decoding.single_token import DecoderStep, EncoderDecoderStep
from llm.errors import InputError
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel


class NextToken(Protocol):
    """A batch of texts that grow token by token."""

    rows: int  # B before `start`: how many texts there are

    def start(self, max_new_tokens: int) -> Tensor:
        """Read what stands before the first new token; returns its logits (B, V).

        Raises InputError when `max_new_tokens` more do not fit the model.
        """

    def advance(self, ids: Tensor) -> Tensor:
        """Append ids (B, 1) and return the logits of the token after them, (B, V)."""

    def reorder(self, rows: Tensor) -> None:
        """Continue with these rows, (new B,) int64; a row may be dropped, or repeated."""


class DecoderOnlySteps:
    """Continues prompts of different lengths, padded on the left so that every row ends at the same position.

    The model must be in evaluation mode. `step` is its step, where several batches share one; None lays it out here.
    """

    def __init__(
        self, model: DecoderModel, prompts: Sequence[Sequence[int]], *, pad_id: int, step: DecoderStep | None = None
    ) -> None:
        assert not model.training, "dropout would make every text a lottery: call model.eval() first"
        for number, prompt in enumerate(prompts):
            check_prompt(prompt, number=number)
        self.model = model
        self.step = step or DecoderStep(model)
        self.prompts = prompts
        self.pad_id = pad_id
        self.rows = len(prompts)

    def start(self, max_new_tokens: int) -> Tensor:
        """Read the prompts; see NextToken.start."""
        longest = max(len(prompt) for prompt in self.prompts)
        check_room(longest, max_new_tokens, max_positions=self.model.config.max_positions)
        device = next(self.model.parameters()).device
        ids = torch.full((self.rows, longest), self.pad_id)
        mask = torch.zeros(self.rows, longest + max_new_tokens, dtype=torch.bool)
        for row, prompt in enumerate(self.prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = True
        # Without padding there is nothing to mask, and attention has a faster path for that.
        self._mask = None if all(len(prompt) == longest for prompt in self.prompts) else mask.to(device)
        # Padding does not count: the first real token has position 0.
        self._padding = torch.tensor([longest - len(prompt) for prompt in self.prompts], device=device)
        self._cache = self.model.new_cache(self.rows, longest + max_new_tokens)
        seen = None if self._mask is None else self._mask[:, :longest]
        logits: Tensor = self.model(ids.to(device), mask=seen, cache=self._cache, last_only=True)
        return logits[:, -1]

    def advance(self, ids: Tensor) -> Tensor:
        """See NextToken.advance."""
        used = self._cache.used
        if self._mask is None:
            return self.step(ids[:, 0], positions=used, mask=None, cache=self._cache)
        mask = self._mask[:, : used + 1]
        return self.step(ids[:, 0], positions=used - self._padding, mask=mask, cache=self._cache)

    def reorder(self, rows: Tensor) -> None:
        """See NextToken.reorder."""
        self._cache.reorder(rows)
        if self._mask is not None:
            self._mask = self._mask[rows]
            self._padding = self._padding[rows]


class EncoderDecoderSteps:
    """Writes a target for each source: padded ids (B, S) with a bool mask (B, S), True at tokens; None: all are.

    The target begins with `start_id`, which is not part of the text. The model must be in evaluation mode. `step` is
    its step, where several batches share one; None lays it out here.
    """

    def __init__(
        self,
        model: EncoderDecoderModel,
        source: Tensor,
        mask: Tensor | None,
        *,
        start_id: int,
        step: EncoderDecoderStep | None = None,
    ) -> None:
        assert not model.training, "dropout would make every text a lottery: call model.eval() first"
        check_source(source.shape[1], max_positions=model.config.max_positions)
        self.model = model
        self.step = step or EncoderDecoderStep(model)
        self.source = source
        self.mask = mask
        self.start_id = start_id
        self.rows = source.shape[0]

    def start(self, max_new_tokens: int) -> Tensor:
        """Encode the sources and read the start token; see NextToken.start."""
        # The start token takes a position, the last new token none: nothing is written after it.
        check_room(0, max_new_tokens, max_positions=self.model.config.max_positions)
        device = next(self.model.parameters()).device
        self._memory_mask = None if self.mask is None or bool(self.mask.all()) else self.mask.to(device)
        memory = self.model.encode(self.source.to(device), mask=self._memory_mask)
        self._cache = self.model.new_cache(self.rows, max_new_tokens)
        self.step.read(memory, cache=self._cache)
        return self.advance(torch.full((self.rows, 1), self.start_id, device=device))

    def advance(self, ids: Tensor) -> Tensor:
        """See NextToken.advance."""
        return self.step(ids[:, 0], memory_mask=self._memory_mask, cache=self._cache)

    def reorder(self, rows: Tensor) -> None:
        """See NextToken.reorder."""
        sources = self._cache.reorder(rows)
        if sources is not None and self._memory_mask is not None:
            self._memory_mask = self._memory_mask[sources]


def check_prompt(prompt: Sequence[int], *, number: int) -> None:
    """Raise InputError for an empty prompt: there is nothing to continue."""
    if len(prompt) == 0:
        raise InputError(f"prompt {number} holds no token", remedy="begin it with the start token")


def check_source(tokens: int, *, max_positions: int) -> None:
    """Raise InputError unless a source of `tokens` fits into `max_positions`."""
    if tokens > max_positions:
        raise InputError(
            f"a source of {tokens} tokens, but the model reads at most {max_positions} (max_positions)",
            remedy="shorten or split the text",
        )


def check_room(prompt: int, new: int, *, max_positions: int) -> None:
    """Raise InputError unless a prompt of `prompt` tokens and `new` more fit into `max_positions`."""
    if prompt + new <= max_positions:
        return
    if prompt == 0:
        problem = f"max_new_tokens = {new}, but the model writes at most {max_positions} tokens (max_positions)"
    else:
        problem = (
            f"a prompt of {prompt} tokens and max_new_tokens = {new} make {prompt + new}, "
            f"but the model holds at most {max_positions} (max_positions)"
        )
    ways = []
    if prompt < max_positions:
        ways.append(f"set max_new_tokens to {max_positions - prompt} or less")
    if prompt > 0 and new < max_positions:
        ways.append(f"shorten the prompt to {max_positions - new} tokens or less")
    raise InputError(problem, remedy=", or ".join(ways) or "lower both")
