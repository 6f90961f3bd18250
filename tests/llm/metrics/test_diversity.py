"""Distinct n-grams and repetition, counted by hand."""

from __future__ import annotations

import pytest

from llm.metrics.diversity import distinct, distinct_without_each, repeated, words_of


def test_words_are_in_small_letters_and_punctuation_marks_are_words():
    assert words_of("Öffne die Tür, Tür!") == ["öffne", "die", "tür", ",", "tür", "!"]


def test_distinct_is_pooled_over_texts():
    assert distinct(["a b a", "a b"], 1) == pytest.approx(100 * 2 / 5)
    # ab, ba, ab: no pair goes from one text to the next.
    assert distinct(["a b a", "a b"], 2) == pytest.approx(100 * 2 / 3)


def test_repetition_counts_what_stood_in_the_same_text_before():
    assert repeated("a b c d a b c d") == pytest.approx(100 * 1 / 5)
    assert repeated("a b c d e f g h") == 0.0


def test_too_few_words_are_neither_distinct_nor_repeated():
    assert distinct(["a"], 2) == 0.0
    assert repeated("a b c") == 0.0


def test_each_text_is_left_out_in_turn():
    # All but the first: a b, a. All but the second: a b a, a. All but the last: a b a, a b.
    assert distinct_without_each(["a b a", "a b", "a"], 1) == pytest.approx([100 * 2 / 3, 50.0, 40.0])
    texts = ["the end of the end", "the end", "", "of it all, of it all"]
    for order in (1, 2):
        expected = [distinct(texts[:row] + texts[row + 1 :], order) for row in range(4)]
        assert distinct_without_each(texts, order) == pytest.approx(expected)
    assert distinct_without_each(["a b"], 1) == [0.0]
