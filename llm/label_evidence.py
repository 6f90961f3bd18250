"""What each token says about the label, counted before training: where a classifier's embedding starts.

A rare token gets a handful of gradient steps; counting tells at once that "skifer" is Danish. As in NB-SVM (Wang and
Manning 2012, eq. 1), the numbers are log-count ratios, and a trained model goes on from there. A token seen seldom is
judged by its letters too: naive Bayes over its n-grams is the prior to which its own counts are added, as strong as the
data makes it likely.

Shapes: V vocabulary, L labels, W distinct words, G n-gram buckets, D model width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from llm.character_ngrams import character_ngrams
from llm.tokenizer import WORD_END, TextTokenizer
from llm.tokens import TokenColumn

if TYPE_CHECKING:
    from scipy import sparse

Matrix = NDArray[np.float64]

_LONGEST = 6  # letters of an n-gram, in the alphabet of byte-level BPE
_SMOOTHING = 0.01  # added to every n-gram's count
# Overlapping n-grams repeat each other, so their evidence is taken at a fraction of its sum; 0 ignores them.
_NGRAM_WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5)
_PRIORS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)  # occurrences that the n-grams' opinion is worth
# Cells (V x L) up to which evidence is counted: six arrays of them are alive at once.
_MAX_CELLS = 1 << 26
# One letter, outside the byte alphabet, in place of four: an ending is then as long an n-gram as a beginning.
_END = "\ue000"

log = logging.getLogger(__name__)


def label_evidence(
    column: TokenColumn, row_labels: NDArray[np.int64], tokenizer: TextTokenizer, *, labels: int
) -> NDArray[np.float32]:
    """(V, L): how much likelier (log) each token makes each label than it makes the labels on average.

    row_labels (N,): the label of each row of `column`, below `labels`. Control tokens say nothing: zeros; nor does any
    token when V x L is too large to count.
    """
    if tokenizer.size * labels > _MAX_CELLS:
        log.info("no evidence is counted: %d tokens x %d labels are too many", tokenizer.size, labels)
        return np.zeros((tokenizer.size, labels), dtype=np.float32)
    pieces = [piece.replace(WORD_END, _END) for piece in tokenizer.pieces()]
    silent = np.asarray([not piece for piece in pieces])
    counts = np.zeros((tokenizer.size, labels))
    np.add.at(counts, (column.ids, np.repeat(row_labels, column.lengths)), 1.0)
    counts[silent] = 0.0
    # As if every label had written as many tokens; one that no training row has wrote none.
    scales = counts.sum() / labels / counts.sum(axis=0).clip(1.0)
    opinion, prior = _best_prior(counts, scales, _ngram_evidence(column, row_labels, pieces, labels=labels))
    evidence = np.log(counts * scales + prior * opinion)
    evidence -= evidence.mean(axis=1, keepdims=True)
    evidence[silent] = 0.0
    result: NDArray[np.float32] = evidence.astype(np.float32)
    return result


def _best_prior(counts: Matrix, scales: Matrix, ngram_evidence: Matrix) -> tuple[Matrix, float]:
    """The n-grams' opinion (V, L), each row summing to 1, and its worth in occurrences.

    Both make the labels likeliest under which the tokens stand, each occurrence judged by all the others of its token
    (leave one out). Where a token's label cannot be foretold, the prior comes out large: a word that was read once then
    says little, instead of giving its row's label away.
    """
    tokens, labels = np.nonzero(counts)
    times = counts[tokens, labels]
    others = (times - 1.0) * scales[labels]
    rest = (counts * scales).sum(axis=1)[tokens] - scales[labels]

    def likelihood(opinion: Matrix, prior: float) -> float:
        return float(times @ np.log((others + prior * opinion[tokens, labels]) / (rest + prior)))

    best = -np.inf
    for weight in _NGRAM_WEIGHTS:
        candidate = _softmax(weight * ngram_evidence)
        for prior in _PRIORS:
            found = likelihood(candidate, prior)
            if found > best:
                best, opinion, chosen = found, candidate, (weight, prior)
    log.info("label evidence: n-grams weigh %g, their opinion is worth %g occurrences", *chosen)
    return opinion, chosen[1]


def _softmax(scores: Matrix) -> Matrix:
    # The floor keeps one confident opinion from making another label impossible.
    likely: Matrix = np.exp(scores - scores.max(axis=1, keepdims=True)) + 1e-6
    likely /= likely.sum(axis=1, keepdims=True)
    return likely


def start_from(embedding: nn.Embedding, evidence: NDArray[np.float32]) -> None:
    """Add `evidence` (V, L) to freshly drawn rows (V, D), along random orthogonal directions.

    Where the labels need more than half of the directions, the strongest axes of the evidence are kept. Every token
    also gets one direction in common, so that the norm after the embedding keeps strong evidence apart from weak.
    """
    width = embedding.embedding_dim
    values = torch.from_numpy(evidence).to(embedding.weight.device)
    axes = torch.linalg.eigh(values.T @ values)[1][:, -min(values.shape[1] - 1, width // 2) :]
    values = values @ axes
    values = values / values.square().sum(dim=1).mean().sqrt().clamp_min(1e-6)
    directions = torch.linalg.qr(torch.randn(width, values.shape[1] + 1, device=values.device))[0].T
    with torch.no_grad():
        embedding.weight += values @ directions[:-1] + directions[-1]


def _ngram_evidence(
    column: TokenColumn, row_labels: NDArray[np.int64], pieces: Sequence[str], *, labels: int
) -> Matrix:
    """(V, L): sum of the log-ratios of the n-grams in each token, counted over whole words of the corpus."""
    words, counts = _words(column, row_labels, pieces, labels=labels)
    vectorizer = character_ngrams(analyzer="char", shortest=1, longest=_LONGEST, labels=labels)
    seen = np.asarray((counts.T @ vectorizer.transform(words)).todense())
    # An n-gram that one text alone has would repeat that text's label.
    seen = np.maximum(seen - 1.0, 0.0) + _SMOOTHING
    ratios = np.log(seen / seen.sum(axis=1, keepdims=True))
    ratios -= ratios.mean(axis=0)
    result: Matrix = vectorizer.transform(pieces) @ ratios.T
    return result


def _words(
    column: TokenColumn, row_labels: NDArray[np.int64], pieces: Sequence[str], *, labels: int
) -> tuple[list[str], sparse.csr_matrix]:
    """The W distinct words of a column, and (W, L) how often each stands under each label.

    A word begins with a space, after the end of another, or beside a control token.
    """
    from scipy import sparse

    ends = np.asarray([not piece or piece.endswith(_END) for piece in pieces])
    starts = np.asarray([not piece or piece.startswith("\u0120") for piece in pieces])
    begins = starts[column.ids]
    begins[1:] |= ends[column.ids[:-1]]
    begins[0] = True
    bounds = np.append(np.flatnonzero(begins), column.ids.size)
    owners = np.repeat(row_labels, column.lengths)[bounds[:-1]]
    spelled = [pieces[token] for token in column.ids.tolist()]
    places: dict[str, int] = {}
    rows = [places.setdefault("".join(spelled[start:stop]), len(places)) for start, stop in pairwise(bounds.tolist())]
    cells = (np.ones(len(rows)), (rows, owners))
    return list(places), sparse.csr_matrix(cells, shape=(len(places), labels))
