"""Hashed character n-grams: what is counted, and how much memory that may take."""

from __future__ import annotations

import pytest

from llm.character_ngrams import character_ngrams


def test_counts_are_plain_and_case_is_kept() -> None:
    vectorizer = character_ngrams(analyzer="char", shortest=1, longest=2, labels=2)
    counts = vectorizer.transform(["abab", "AB", ""])
    assert sorted(counts[0].data.tolist()) == [1.0, 2.0, 2.0, 2.0]  # ba; a, b, ab
    assert counts[1].sum() == 3
    assert counts[2].sum() == 0
    assert not set(counts[0].indices) & set(counts[1].indices)


@pytest.mark.parametrize(("labels", "buckets"), [(2, 1 << 20), (32, 1 << 20), (100, 1 << 18), (10_000, 1 << 11)])
def test_many_labels_get_fewer_buckets_so_that_memory_is_bounded(labels: int, buckets: int) -> None:
    vectorizer = character_ngrams(analyzer="char_wb", shortest=1, longest=4, labels=labels)
    assert vectorizer.n_features == buckets
