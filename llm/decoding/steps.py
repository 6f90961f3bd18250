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
from llm.model.products import products


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
        for row, prompt in enumerate(self.prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        padding = torch.tensor([longest - len(prompt) for prompt in self.prompts])
        self._written = 0
        self._cache = self.step.new_cache(self.rows, room=longest + max_new_tokens)
        # Without padding there is nothing to mask, all rows are at one place, and attention has a faster path for that.
        if not bool(padding.any()):
            self._lengths = None
            self._longest = longest
            return self.step.read(ids.to(device), mask=None, cache=self._cache)
        mask = torch.arange(longest) >= padding.unsqueeze(1)
        # Padding does not count: the first real token has position 0.
        self._lengths = (longest - padding).to(device)
        return self.step.read(ids.to(device), mask=mask.to(device), cache=self._cache)

    def advance(self, ids: Tensor) -> Tensor:
        """See NextToken.advance."""
        positions = self._written + (self._longest if self._lengths is None else self._lengths)
        self._written += 1
        return self.step(ids[:, 0], positions=positions, cache=self._cache)

    def reorder(self, rows: Tensor) -> None:
        """See NextToken.reorder."""
        self._cache.reorder(rows)
        if self._lengths is not None:
            self._lengths = self._lengths[rows]


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
        with products(self.step.products, device):
            memory = self.model.encode(self.source.to(device), mask=self._memory_mask)
        self._cache = self.step.read(memory.to(self.step.embedding.dtype), max_new_tokens=max_new_tokens)
        self._written = 0
        return self.advance(torch.full((self.rows, 1), self.start_id, device=device))

    def advance(self, ids: Tensor) -> Tensor:
        """See NextToken.advance."""
        position = self._written
        self._written += 1
        return self.step(ids[:, 0], position=position, memory_mask=self._memory_mask, cache=self._cache)

    def reorder(self, rows: Tensor) -> None:
        """See NextToken.reorder."""
        texts = self._cache.reorder(rows)
        if texts is not None and self._memory_mask is not None:
            self._memory_mask = self._memory_mask[texts]


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
