"""Bits per byte and perplexity against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from llm.errors import CorpusError
from llm.metrics.language_model import bits_per_byte, perplexity


def test_guessing_every_byte_among_256_costs_8_bits_per_byte():
    assert bits_per_byte(10 * math.log(256), 10) == pytest.approx(8.0)


def test_bits_per_byte_divides_by_bytes_and_not_by_tokens():
    # 3 tokens of probability 1/4 are 6 bits; over 12 bytes that is half a bit a byte.
    assert bits_per_byte(3 * math.log(4), 12) == pytest.approx(0.5)


def test_guessing_every_token_among_50_has_perplexity_50():
    assert perplexity(7 * math.log(50), 7) == pytest.approx(50.0)


def test_perplexity_is_the_inverse_geometric_mean_of_the_probabilities():
    nats = -math.log(0.5) - math.log(0.125)
    assert perplexity(nats, 2) == pytest.approx(4.0)


@pytest.mark.parametrize("metric", [bits_per_byte, perplexity])
def test_a_mean_over_nothing_is_refused_with_a_remedy(metric):
    with pytest.raises(CorpusError, match=r"over 0 .*\n.*remedy: give the test split some text"):
        metric(1.0, 0)
