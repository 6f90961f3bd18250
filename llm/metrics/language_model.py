"""Bits per byte and perplexity from summed negative log-likelihoods."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llm.errors import CorpusError
from llm.statistics.intervals import RowSums
from llm.statistics.measures import BitsPerByte


def bits_per_byte(nats: float, bytes: int) -> float:  # noqa: A002 (the unit's own name)
    """nats / (bytes * ln 2).

    nats: -sum of ln p over every predicted token, end-of-document tokens included; bytes: UTF-8 bytes of the raw texts.
    Unlike perplexity it does not depend on the tokenizer, so models with different vocabularies compare.

    Raises CorpusError when there is no byte.
    """
    return nats / (_positive(bytes, "bytes") * math.log(2))


def perplexity(nats: float, tokens: int) -> float:
    """exp(nats / tokens): perplexity for each predicted token, end-of-document tokens counted.

    Raises CorpusError when there is no token.
    """
    return math.exp(nats / _positive(tokens, "tokens"))


def row_sums(nats: NDArray[np.float64], sizes: NDArray[np.float64], tokens: NDArray[np.float64]) -> dict[str, RowSums]:
    """Both metrics as sums over documents: (N,) each of nats, UTF-8 bytes and predicted tokens."""
    return {
        "bits_per_byte": RowSums(BitsPerByte().value, np.stack([nats, sizes], axis=1)),
        "perplexity": RowSums(_perplexity, np.stack([nats, tokens], axis=1)),
    }


def _perplexity(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(sums[..., 0] / sums[..., 1]))


def _positive(count: int, unit: str) -> int:
    if count < 1:
        raise CorpusError(f"a mean over {count} {unit} does not exist", remedy="give the test split some text")
    return count
