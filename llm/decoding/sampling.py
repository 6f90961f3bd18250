"""Greedy search and sampling: one token a row a step, finished rows leave the batch.

Shapes: B batch, V vocabulary, N new tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from llm.decoding.steps import NextToken

# Picks (B,) ids from logits (B, V); the second argument, (B,), says which text each row writes.
Choose = Callable[[Tensor, Tensor], Tensor]

# Leaving rows cost a copy of the cache, so they leave together: when they are at least 1/8 of the batch.
_SHARE_THAT_LEAVES = 8


def greedy(logits: Tensor, rows: Tensor) -> Tensor:  # noqa: ARG001 (the signature of Choose)
    """The likeliest token of each row: logits (B, V) -> ids (B,)."""
    return logits.float().argmax(dim=-1)


class Sampler:
    """Draws tokens from the softmax of logits / temperature, cut to `top_k` and `top_p`.

    uniform (texts, N), in [0, 1): the numbers that decide each token of each text. So a text depends neither on its
    neighbours nor on when they end.
    """

    def __init__(self, *, uniform: Tensor, temperature: float, top_k: int, top_p: float) -> None:
        self.columns = iter(uniform.unbind(1))
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p

    def __call__(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Logits (B, V) -> ids (B,); `rows` (B,) are indices of texts. To be called once a token."""
        logits = scale(logits.float(), temperature=self.temperature)
        return draw(cut(logits, top_k=self.top_k, top_p=self.top_p), uniform=next(self.columns).to(rows.device)[rows])


def uniform_numbers(numbers: Sequence[int], *, seed: int, count: int) -> Tensor:
    """(texts, count) in [0, 1): a stream of its own for each seed and number of a text (Salmon et al. 2011, Philox)."""
    streams = [np.random.Generator(np.random.Philox(key=[seed, number])) for number in numbers]
    return torch.from_numpy(np.stack([stream.random(count) for stream in streams]))


def scale(logits: Tensor, *, temperature: float) -> Tensor:
    """Logits (B, V) over the temperature, shifted to a maximum of 0, so that a tiny temperature cannot overflow."""
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperature


def cut(logits: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """Logits (B, V) with -inf for what must not be drawn.

    Top-k first (Fan et al. 2018), then the nucleus, top-p (Holtzman et al. 2020), of what is left, as in transformers:
    a token stays when less than `top_p` of the probability is on likelier ones; tokens that tie with the k-th stay.
    """
    if 0 < top_k < logits.shape[-1]:
        kth = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, float("-inf"))
    if top_p < 1.0:
        ascending, order = logits.sort(dim=-1)
        unlikely = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        unlikely[:, -1] = False
        logits = logits.masked_fill(unlikely.scatter(1, order, unlikely), float("-inf"))
    return logits


def draw(logits: Tensor, *, uniform: Tensor) -> Tensor:
    """One id a row from the softmax of logits (B, V): its cumulative sum inverted at `uniform` (B,), in [0, 1)."""
    # In float64, since in float32 the sum over a large vocabulary would round the unlikely tokens away.
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    target = uniform.unsqueeze(1) * cumulative[:, -1:]
    # The first id whose sum is above the target: never one with probability 0, where the sum does not rise.
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def write(steps: NextToken, choose: Choose, *, max_new_tokens: int, eos_id: int, pad_id: int) -> Tensor:
    """New tokens, (B, N) with N = max_new_tokens: up to and with `eos_id`, then `pad_id`."""
    logits = steps.start(max_new_tokens)
    rows = torch.arange(logits.shape[0], device=logits.device)
    unfinished = torch.ones_like(rows, dtype=torch.bool)
    written = torch.full((logits.shape[0], max_new_tokens), pad_id, device=logits.device)
    for step in range(max_new_tokens):
        ids = choose(logits, rows).masked_fill(~unfinished, pad_id)
        written[rows, step] = ids
        unfinished &= ids != eos_id
        left = int(unfinished.sum())
        if left == 0 or step + 1 == max_new_tokens:
            break
        batch = rows.shape[0]
        if (batch - left) * _SHARE_THAT_LEAVES >= batch:
            kept = unfinished.nonzero().squeeze(1)
            steps.reorder(kept)
            rows, ids, unfinished = rows[kept], ids[kept], unfinished[kept]
        logits = steps.advance(ids.unsqueeze(1))
    return written


def write_one(steps: NextToken, choose: Choose, *, max_new_tokens: int, eos_id: int) -> Iterator[int]:
    """The tokens that `write` gives to the only row, each when it is chosen, without `eos_id`."""
    logits = steps.start(max_new_tokens)
    row = torch.zeros(1, dtype=torch.int64, device=logits.device)
    for step in range(max_new_tokens):
        ids = choose(logits, row)
        token = int(ids)
        if token == eos_id:
            return
        yield token
        if step + 1 < max_new_tokens:
            logits = steps.advance(ids.unsqueeze(1))
