"""Splits that never change: what a group's hash decides."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from llm.splits import SPLITS, SplitConfig, split_of

GROUPS = [f"group {i}" for i in range(5000)]


def test_known_groups_are_where_they_have_always_been() -> None:
    # Written down once: a change here moves test data into the training data of every model there is.
    config = SplitConfig(validation=0.3, test=0.3, salt="fixed")
    assert {group: split_of(group, config) for group in ("hamlet", "macbeth", "othello", "zone", "")} == {
        "hamlet": "test",
        "macbeth": "train",
        "othello": "train",
        "zone": "validation",
        "": "validation",
    }


def test_the_shares_are_about_what_was_asked_for() -> None:
    counts = Counter(split_of(group, SplitConfig(validation=0.1, test=0.2)) for group in GROUPS)
    # Binomial: the standard deviations are 21 and 28 groups; 5 of them are allowed.
    assert abs(counts["validation"] - 500) < 106
    assert abs(counts["test"] - 1000) < 142
    assert set(counts) == set(SPLITS)


def test_a_larger_share_only_takes_from_the_training_data() -> None:
    small = SplitConfig(validation=0.05, test=0.05)
    large = SplitConfig(validation=0.1, test=0.2)
    for group in GROUPS:
        if split_of(group, small) != "train":
            assert split_of(group, large) == split_of(group, small)


def test_another_salt_draws_other_groups() -> None:
    drawn = [
        {group for group in GROUPS if split_of(group, SplitConfig(salt=salt)) == "test"} for salt in ("one", "two")
    ]
    assert len(drawn[0] & drawn[1]) < len(drawn[0]) / 2


@pytest.mark.parametrize(
    "shares", [{"validation": 0.5, "test": 0.5}, {"validation": 0.0}, {"test": 1.0}, {"test": -0.1}]
)
def test_shares_that_leave_nothing_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SplitConfig(**shares)
