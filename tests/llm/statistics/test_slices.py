"""Holm's correction by hand, and which slice of a planted regression blocks."""

from __future__ import annotations

import numpy as np
import pytest

from llm.errors import InputError
from llm.statistics.measures import Accuracy
from llm.statistics.slices import MINIMUM_ROWS, holm, slice_regressions, too_small


def answers(right):
    return np.stack([np.asarray(right, dtype=float), np.ones(len(right))], axis=1)


def planted(*, lost):
    """300 rows in three slices of 100 that the champion gets right; the challenger loses some of the second."""
    champion, challenger = np.ones(300), np.ones(300)
    challenger[100 : 100 + lost] = 0
    number = np.arange(300) // 100
    slices = {name: number == place for place, name in enumerate(("first", "second", "third"))}
    return answers(champion), answers(challenger), slices


def test_holm_multiplies_the_smallest_most_and_never_falls_back():
    # Sorted: 0.01 * 4, 0.02 * 3, 0.022 * 2 raised to its predecessor, 0.9 * 1.
    assert holm([0.022, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_slice_that_lost_blocks_and_comes_first():
    champion, challenger, slices = planted(lost=9)
    found = slice_regressions(Accuracy(), champion, challenger, slices=slices)
    assert [(one.name, one.blocks) for one in found] == [("second", True), ("first", False), ("third", False)]
    # Nine coins that all fall on one side, for three slices.
    assert found[0].adjusted_p_worse == pytest.approx(3 / 2**9)
    assert found[0].comparison.difference == pytest.approx(-9.0)


def test_a_loss_that_one_slice_alone_would_show_does_not_block_among_several():
    champion, challenger, slices = planted(lost=5)
    alone = slice_regressions(Accuracy(), champion, challenger, slices={"second": slices["second"]})
    assert alone[0].blocks
    found = slice_regressions(Accuracy(), champion, challenger, slices=slices)
    assert not any(one.blocks for one in found)
    # What is stated as detectable knows of the correction.
    assert found[0].comparison.detectable > alone[0].comparison.detectable


def test_a_slice_with_too_few_rows_is_neither_judged_nor_counted():
    champion, challenger, slices = planted(lost=9)
    slices["tiny"] = np.arange(300) < MINIMUM_ROWS - 1
    assert too_small(slices) == ("tiny",)
    found = slice_regressions(Accuracy(), champion, challenger, slices=slices)
    assert "tiny" not in [one.name for one in found]
    assert found[0].adjusted_p_worse == pytest.approx(3 / 2**9)
    slices["tiny"][MINIMUM_ROWS - 1] = True
    assert too_small(slices) == ()


def test_no_slices_are_no_regressions():
    champion, challenger, _ = planted(lost=9)
    assert slice_regressions(Accuracy(), champion, challenger, slices={}) == ()


@pytest.mark.parametrize("mask", [np.ones(299, dtype=bool), np.ones(300)])
def test_a_mask_that_does_not_fit_the_rows_is_refused(mask):
    champion, challenger, _ = planted(lost=1)
    with pytest.raises(InputError, match=r"the slice 'odd' is .*; it must be bool of shape \(300,\)"):
        slice_regressions(Accuracy(), champion, challenger, slices={"odd": mask})
