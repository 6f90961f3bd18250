"""Interpolated trigram model (Jelinek and Mercer 1980) over the same tokens as the model.

p(w | u v) = a(u v) f(w | u v) + (1 - a(u v)) [b(v) f(w | v) + (1 - b(v)) [c f(w) + (1 - c) / V]]; f is the relative
frequency on the training split. The weights a, b and c are shared by contexts that were seen similarly often (buckets
by powers of two; Chen and Goodman 1999, section 2.3) and found by expectation-maximisation on the validation split. A
context never seen has weight 0, so the probabilities always sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llm.baselines.base import BaselineData, BaselineResult
from llm.baselines.ngrams import UNSEEN, Ints, NgramCounts
from llm.errors import StageError
from llm.metrics import language_model
from llm.tokenizer import BOS_ID, EOS_ID, UNK_ID
from llm.tokens import TokenTable

Floats = NDArray[np.float64]

_ORDER = 3
_BUCKETS = 64
# Ids that are never predicted: padding, beginning of document, unknown.
_NEVER_PREDICTED = 3
_MAX_ROUNDS = 100
# Nats a token; smaller gains of the validation likelihood end the search.
_ENOUGH = 1e-6


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the counts say about the P predicted tokens of a stream.

    frequencies: (order + 1, P), row 0 the uniform floor, row n the relative frequency of the n-gram; buckets:
    (order + 1, P), row n the bucket of the n-gram's context (0: never seen).
    """

    frequencies: Floats
    buckets: Ints


def score(data: BaselineData) -> BaselineResult:
    """Bits per byte and perplexity (per token, end of document counted) on the test split."""
    streams = {split: _stream(data.table(split), split=split) for split in ("train", "validation", "test")}
    # Ids that no split has would only lower the uniform floor; the special ones exist even where no text does.
    alphabet = 1 + max(UNK_ID, *(int(stream.max()) for stream in streams.values()))
    counts = NgramCounts.of(streams["train"], alphabet=alphabet, start=BOS_ID, order=_ORDER)
    weights = fit_weights(evidence(counts, streams["validation"]))
    probabilities = _shares(weights, evidence(counts, streams["test"])).sum(axis=0)
    nats = -float(np.log(probabilities).sum())
    texts = [row["text"] for row in data.rows("test")]
    metrics = {
        "bits_per_byte": language_model.bits_per_byte(nats, sum(len(text.encode()) for text in texts)),
        "perplexity": language_model.perplexity(nats, len(probabilities)),
    }
    return BaselineResult(metrics=metrics, answers=[])


def _stream(table: TokenTable, *, split: str) -> Ints:
    """All documents of a split, one after the other.

    Raises StageError when one is not framed by the beginning and the end token.
    """
    column = table.columns["text"]
    offsets = column.offsets
    framed = np.zeros(len(column), dtype=bool)
    long = np.flatnonzero(column.lengths >= 2)
    framed[long] = (column.ids[offsets[:-1][long]] == BOS_ID) & (column.ids[offsets[1:][long] - 1] == EOS_ID)
    if not framed.all():
        raise StageError(
            f"row {int(np.argmin(framed))} of the {split} tokens does not begin with {BOS_ID} and end with {EOS_ID}",
            remedy="tokenize documents with the template '<s> $A </s>'",
        )
    return column.ids.astype(np.int64)


def evidence(counts: NgramCounts, stream: Ints) -> Evidence:
    """Look up every predicted token of `stream`: all but the documents' beginnings."""
    predicted = stream != counts.start
    frequencies = np.empty((len(counts.orders) + 1, int(predicted.sum())))
    frequencies[0] = 1.0 / (counts.alphabet - _NEVER_PREDICTED)
    buckets = np.zeros(frequencies.shape, dtype=np.int64)
    for n, position in enumerate(counts.locate(stream), start=1):
        order = counts.orders[n - 1]
        totals = np.bincount(order.prefix, weights=order.counts, minlength=counts.contexts(n))
        context, gram = position.context[predicted], position.gram[predicted]
        total = np.where(context == UNSEEN, 0.0, totals[context])
        count = np.where(gram == UNSEEN, 0, order.counts[gram])
        frequencies[n] = count / np.maximum(total, 1.0)
        # The exponent of x = m 2^e with 1/2 <= m < 1: 0 for 0, 1 for 1, 2 for 2 and 3, 3 for 4 to 7, ...
        buckets[n] = np.frexp(total)[1]
    return Evidence(frequencies=frequencies, buckets=buckets)


def fit_weights(found: Evidence) -> Floats:
    """(order + 1, buckets): the weight of each order in each bucket that makes `found` most likely, by EM.

    Each bucket starts with one imagined token, shared evenly: no weight becomes 1, which would leave probability 0 for
    what is still to come, and a bucket that the validation split does not reach keeps 1/2.
    """
    orders = len(found.frequencies)
    weights = np.full((orders, _BUCKETS), 0.5)
    weights[0] = 1.0
    weights[1:, 0] = 0.0
    before = -np.inf
    for _ in range(_MAX_ROUNDS):
        shares = _shares(weights, found)
        likelihoods = shares.sum(axis=0)
        mean = float(np.log(likelihoods).mean())
        if mean - before < _ENOUGH:
            break
        before = mean
        shares /= likelihoods
        # shares[: n + 1].sum(): how much of each token was left to order n and the orders below it.
        left = np.cumsum(shares, axis=0)
        for n in range(1, orders):
            taken = np.bincount(found.buckets[n], weights=shares[n], minlength=_BUCKETS)
            offered = np.bincount(found.buckets[n], weights=left[n], minlength=_BUCKETS)
            weights[n, 1:] = ((taken + 0.5) / (offered + 1.0))[1:]
    return weights


def _shares(weights: Floats, found: Evidence) -> Floats:
    """(order + 1, P): what each order adds to the probability of each token; the sum over orders is p."""
    shares = np.empty_like(found.frequencies)
    remaining = np.ones(found.frequencies.shape[1])
    for n in reversed(range(len(shares))):
        weight = weights[n][found.buckets[n]]
        shares[n] = remaining * weight * found.frequencies[n]
        remaining = remaining * (1.0 - weight)
    return shares
