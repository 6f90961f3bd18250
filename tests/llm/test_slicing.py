"""Parts of a test split: thirds by length, and one for each value."""

from __future__ import annotations

import numpy as np

from llm.slicing import by_length, by_value


def members(masks: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}


def test_texts_are_parted_in_thirds_by_their_length() -> None:
    texts = ["x" * length for length in (9, 1, 5, 2, 6, 3, 8, 4, 7)]
    assert members(by_length(texts)) == {
        "length: short": [1, 3, 5],
        "length: middle": [2, 4, 7],
        "length: long": [0, 6, 8],
    }


def test_texts_as_long_as_each_other_are_in_the_same_part() -> None:
    found = members(by_length(["ab"] * 5 + ["abcd"]))
    assert found == {"length: short": [0, 1, 2, 3, 4], "length: middle": [], "length: long": [5]}
    assert all(mask.shape == (0,) and mask.dtype == np.bool_ for mask in by_length([]).values())


def test_each_value_has_its_rows() -> None:
    assert members(by_value("label", ["b", "a", "b"])) == {"label: a": [1], "label: b": [0, 2]}
