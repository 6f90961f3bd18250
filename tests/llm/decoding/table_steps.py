"""A toy model that is a table of scores, so that every text it can write can be enumerated."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


class TableSteps:
    """NextToken over a table: scores[text, history] are the logits (V,) after that history.

    Histories are numbered as in a V-ary heap: the empty one is 0, `history` followed by `id` is history * V + 1 + id.
    """

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        self.rows = scores.shape[0]
        self.batches: list[int] = []  # how many rows each call computed

    def start(self, max_new_tokens: int) -> Tensor:
        self.texts = torch.arange(self.rows)
        self.histories = torch.zeros(self.rows, dtype=torch.long)
        return self._logits()

    def advance(self, ids: Tensor) -> Tensor:
        self.histories = self.histories * self.scores.shape[2] + 1 + ids[:, 0]
        return self._logits()

    def reorder(self, rows: Tensor) -> None:
        self.texts, self.histories = self.texts[rows], self.histories[rows]

    def _logits(self) -> Tensor:
        self.batches.append(len(self.texts))
        return self.scores[self.texts, self.histories]


def random_scores(*, texts: int, vocabulary: int, length: int, seed: int) -> Tensor:
    """A table for `TableSteps`, (texts, histories shorter than `length`, vocabulary)."""
    histories = sum(vocabulary**size for size in range(length))
    return 2.0 * torch.randn(texts, histories, vocabulary, generator=torch.Generator().manual_seed(seed))


def enumerate_texts(scores: Tensor, *, length: int, eos_id: int) -> dict[tuple[int, ...], float]:
    """Log-probability of every text of one table (histories, V), up to `eos_id` or cut at `length`."""
    log_probabilities = scores.double().log_softmax(dim=-1)
    vocabulary = scores.shape[-1]
    texts: dict[tuple[int, ...], float] = {}
    for ids in itertools.product(range(vocabulary), repeat=length):
        end = ids.index(eos_id) + 1 if eos_id in ids else length
        history, total = 0, 0.0
        for id_ in ids[:end]:
            total += log_probabilities[history, id_].item()
            history = history * vocabulary + 1 + id_
        texts[ids[:end]] = total
    return texts
