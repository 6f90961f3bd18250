"""Beam search over a batch, with the semantics of transformers' `generate(num_beams=K, early_stopping=False)`.

A text's score is the sum of its log-probabilities / length ** length_penalty, the end token counted in the length. That
is the convention of transformers, not the ((5 + length) / 6) ** alpha of Wu et al. 2016, eq. 14, because a registered
model must give the same text here and there.

Shapes: B batch, K beams, C = 2 K candidates, V vocabulary, N new tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llm.decoding.steps import NextToken

# transformers' stand-in for minus infinity; the same number, so that ties among impossible beams break the same way.
_IMPOSSIBLE = -1.0e9
# Scores whose maximum is taken first; vocabularies are mostly multiples of it.
_PIECE = 32


def write(
    steps: NextToken, *, num_beams: int, length_penalty: float, max_new_tokens: int, eos_id: int, pad_id: int
) -> Tensor:
    """The best text of each row, (B, N) with N = max_new_tokens: up to and with `eos_id`, then `pad_id`."""
    logits = steps.start(max_new_tokens)
    batch = logits.shape[0]
    best = torch.full((batch, max_new_tokens), pad_id, device=logits.device)
    texts = torch.arange(batch, device=logits.device)
    # The prompt is read once a text; only what follows is done K times.
    copies = texts.repeat_interleave(num_beams)
    steps.reorder(copies)
    logits = logits[copies]
    beams = _Beams.empty(best, num_beams=num_beams)
    for step in range(max_new_tokens):
        parents = beams.extend(logits, step=step, length_penalty=length_penalty, eos_id=eos_id)
        unfinished = beams.can_improve(length=step + 1, length_penalty=length_penalty)
        if step + 1 == max_new_tokens or not bool(unfinished.any()):
            best[texts] = beams.finished[:, 0]
            break
        # The cache is rearranged at every step anyway, so texts that are decided leave at no cost.
        if not bool(unfinished.all()):
            best[texts] = beams.finished[:, 0]
            texts, parents, beams = texts[unfinished], parents[unfinished], beams.of_texts(unfinished)
        steps.reorder(parents.flatten())
        logits = steps.advance(beams.running[:, :, step].reshape(-1, 1))
    return best


@dataclass
class _Beams:
    """K texts that still grow and the K best that are complete, per row; both sorted, best first."""

    running: Tensor  # (B, K, N) ids
    running_scores: Tensor  # (B, K) summed log-probabilities
    finished: Tensor  # (B, K, N) ids
    finished_scores: Tensor  # (B, K) divided by length ** length_penalty
    is_finished: Tensor  # (B, K) bool: the place holds a complete text

    @staticmethod
    def empty(padding: Tensor, *, num_beams: int) -> _Beams:
        """No token yet; `padding` is (B, N)."""
        batch = padding.shape[0]
        ids = padding.unsqueeze(1).repeat(1, num_beams, 1)
        impossible = torch.full((batch, num_beams), _IMPOSSIBLE, device=padding.device)
        # All beams start equal: only the first may count, or the K best continuations would be K times the same.
        scores = impossible.clone()
        scores[:, 0] = 0.0
        return _Beams(ids, scores, ids.clone(), impossible, torch.zeros_like(impossible, dtype=torch.bool))

    def of_texts(self, chosen: Tensor) -> _Beams:
        """The beams of the texts where `chosen` (B,) is true."""
        return _Beams(
            self.running[chosen],
            self.running_scores[chosen],
            self.finished[chosen],
            self.finished_scores[chosen],
            self.is_finished[chosen],
        )

    def extend(self, logits: Tensor, *, step: int, length_penalty: float, eos_id: int) -> Tensor:
        """Add one token to every running beam; logits are (B * K, V).

        Returns (B, K): for each new running beam, the row of `logits` that it continues.
        """
        batch, beams, longest = self.running.shape
        vocabulary = logits.shape[-1]
        log_probabilities = torch.log_softmax(logits.float(), dim=-1).view(batch, beams, vocabulary)
        totals = (log_probabilities + self.running_scores.unsqueeze(-1)).view(batch, beams * vocabulary)
        # 2 K, since up to K of them end the text, and K must be left to go on.
        scores, flat = _largest(totals, 2 * beams)
        parents, ids = flat // vocabulary, flat % vocabulary
        candidates = _take(self.running, parents)
        candidates[:, :, step] = ids
        ends = ids == eos_id
        if step + 1 == longest:
            ends = torch.ones_like(ends)
        self._keep_finished(candidates, scores / (step + 1) ** length_penalty, ends)
        self.running_scores, chosen = (scores + ends * _IMPOSSIBLE).topk(beams, dim=-1)
        self.running = _take(candidates, chosen)
        first_rows = torch.arange(0, batch * beams, beams, device=logits.device)
        return first_rows.unsqueeze(1) + parents.gather(1, chosen)

    def _keep_finished(self, candidates: Tensor, scores: Tensor, ends: Tensor) -> None:
        """Merge the candidates (B, C, N) that end into the K best complete texts; only the first K of them may end."""
        beams = self.finished.shape[1]
        ends = ends & (torch.arange(ends.shape[1], device=ends.device) < beams)
        merged_scores = torch.cat((self.finished_scores, scores + ~ends * _IMPOSSIBLE), dim=1)
        self.finished_scores, chosen = merged_scores.topk(beams, dim=-1)
        self.finished = _take(torch.cat((self.finished, candidates), dim=1), chosen)
        self.is_finished = torch.cat((self.is_finished, ends), dim=1).gather(1, chosen)

    def can_improve(self, *, length: int, length_penalty: float) -> Tensor:
        """(B,) bool: the best running beam, ended now, would still enter the K complete texts.

        That is transformers' `early_stopping=False`: a heuristic for length_penalty > 0, where a longer text may score
        better than it promises now.
        """
        promise = self.running_scores[:, :1] / length**length_penalty
        worst = torch.where(self.is_finished, self.finished_scores.amin(dim=1, keepdim=True), _IMPOSSIBLE)
        improves: Tensor = promise > worst
        return improves.any(dim=1)


def _largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of scores (B, X) and their places, sorted, (B, count) each.

    The largest scores stand in the pieces with the largest maxima, and a maximum costs far less than a sort.
    """
    rows, width = scores.shape
    if width < _PIECE * _PIECE or width % _PIECE:
        values, places = scores.topk(count, dim=-1)
        return values, places
    pieces = scores.view(rows, -1, _PIECE)
    best = pieces.amax(dim=-1).topk(count, dim=-1).indices
    chosen = pieces.gather(1, best.unsqueeze(-1).expand(-1, -1, _PIECE)).flatten(1)
    values, places = chosen.topk(count, dim=-1)
    return values, best.gather(1, places // _PIECE) * _PIECE + places % _PIECE


def _take(sequences: Tensor, places: Tensor) -> Tensor:
    """Sequences (B, X, N) at places (B, Y) -> (B, Y, N)."""
    return sequences.gather(1, places.unsqueeze(-1).expand(-1, -1, sequences.shape[-1]))
