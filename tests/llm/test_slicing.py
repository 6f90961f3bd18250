"""Parts of a test split: thirds by length, one for each value, rows with rare words, and the largest groups."""

from __future__ import annotations

import numpy as np

from llm.slicing import by_group, by_length, by_value, of_every_kind, rare_words


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


def test_a_text_has_rare_words_if_one_of_its_words_stands_in_no_other() -> None:
    texts = ["Open the door", "open THE garage", "the door, the door", "", "Door 17 open"]
    assert members(rare_words(texts)) == {"rare words": [1]}
    assert rare_words([])["rare words"].shape == (0,)


def test_only_groups_with_enough_rows_are_looked_at_and_of_those_the_largest() -> None:
    sizes = {f"play {number}": 28 + number for number in range(12)}
    groups = [name for name, size in sizes.items() for _ in range(size)]
    found = members(by_group(groups))
    assert list(found) == sorted(f"from: play {number}" for number in range(4, 12))
    assert len(found["from: play 4"]) == 32
    assert list(members(by_group(groups[: 28 + 29 + 30]))) == ["from: play 2"]


def test_every_family_sees_lengths_rare_words_and_groups() -> None:
    rows = [{"group": "a"}] * 30 + [{"group": "b"}]
    found = of_every_kind(rows, ["x"] * 30 + ["y z"])
    assert list(found) == ["length: short", "length: middle", "length: long", "rare words", "from: a"]
