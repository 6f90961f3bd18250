"""Confused classes, counted by hand."""

from __future__ import annotations

import numpy as np

from llm.metrics.confusion import Confusion

LABELS = ["en", "en", "en", "de", "de", "nl", "nl", "nl"]
FOUND = ["en", "en", "de", "de", "nl", "de", "de", "nl"]


def test_rows_are_right_answers_and_columns_answers():
    found = Confusion.of(FOUND, LABELS)
    assert found.names == ("de", "en", "nl")
    np.testing.assert_array_equal(found.counts, [[1, 0, 1], [1, 2, 0], [2, 0, 1]])


def test_the_most_frequent_mistakes_come_first_with_their_share_of_the_class():
    pairs = Confusion.of(FOUND, LABELS).pairs(2)
    assert pairs == [("nl", "de", 2, 2 / 3), ("de", "nl", 1, 1 / 2)]
    assert len(Confusion.of(FOUND, LABELS).pairs(50)) == 3
    assert Confusion.of(LABELS, LABELS).pairs(5) == []


def test_a_class_that_is_only_answered_has_a_row_of_zeros():
    found = Confusion.of(["fr", "en"], ["en", "en"])
    np.testing.assert_array_equal(found.counts, [[1, 1], [0, 0]])


def test_the_largest_classes_keep_their_order():
    found = Confusion.of(FOUND, LABELS).largest(2)
    assert found.names == ("en", "nl")
    np.testing.assert_array_equal(found.counts, [[2, 0], [0, 1]])
