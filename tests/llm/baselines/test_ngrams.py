"""n-gram counts against counts made by hand and by a dictionary."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from llm.baselines.ngrams import UNSEEN, NgramCounts

START = 0
# Two documents: S 1 2 1 and S 2.
STREAM = np.array([0, 1, 2, 1, 0, 2])


def spelled(counts: NgramCounts, order: int) -> list[tuple[int, ...]]:
    """Every n-gram of an order as the tuple of its symbols, in the order of their numbers."""
    if order == 0:
        return [()]
    shorter = spelled(counts, order - 1)
    table = counts.orders[order - 1]
    return [
        (*shorter[prefix], int(key % counts.alphabet)) for prefix, key in zip(table.prefix, table.keys, strict=True)
    ]


def test_counts_of_two_small_documents_made_by_hand():
    counts = NgramCounts.of(STREAM, alphabet=3, start=START, order=3)
    found = [dict(zip(spelled(counts, n), counts.orders[n - 1].counts.tolist(), strict=True)) for n in (1, 2, 3)]
    assert found == [
        {(0,): 0, (1,): 2, (2,): 2},
        {(0, 1): 1, (0, 2): 1, (1, 2): 1, (2, 1): 1},
        {(0, 1, 2): 1, (1, 2, 1): 1},
    ]


def test_the_suffix_of_an_n_gram_is_the_n_gram_without_its_first_symbol():
    counts = NgramCounts.of(STREAM, alphabet=3, start=START, order=3)
    for n in (2, 3):
        shorter = spelled(counts, n - 1)
        suffixes = [shorter[number] for number in counts.orders[n - 1].suffix]
        assert suffixes == [gram[1:] for gram in spelled(counts, n)]


def test_a_stream_is_located_by_its_known_n_grams_and_contexts():
    counts = NgramCounts.of(STREAM, alphabet=3, start=START, order=2)
    one, two = counts.locate(np.array([0, 1, 1, 2]))
    assert one.gram.tolist() == [0, 1, 1, 2]
    assert one.context.tolist() == [0, 0, 0, 0]
    assert two.context.tolist() == [UNSEEN, 0, 1, 1]
    assert two.gram.tolist() == [UNSEEN, spelled(counts, 2).index((0, 1)), UNSEEN, spelled(counts, 2).index((1, 2))]


@pytest.mark.parametrize("alphabet", [5, 1 << 20])
def test_counts_match_a_dictionary_even_where_an_n_gram_does_not_fit_into_64_bits(alphabet):
    generator = np.random.default_rng(1)
    documents = [[START, *generator.integers(1, 5, size=30).tolist()] for _ in range(20)]
    # The largest symbols of the alphabet, four to each side.
    documents = [[START, *(alphabet - symbol for symbol in document[1:])] for document in documents]
    counts = NgramCounts.of(np.concatenate(documents), alphabet=alphabet, start=START, order=4)
    for n in (2, 3, 4):
        expected = Counter(tuple(document[i : i + n]) for document in documents for i in range(len(document) - n + 1))
        assert dict(zip(spelled(counts, n), counts.orders[n - 1].counts.tolist(), strict=True)) == expected
