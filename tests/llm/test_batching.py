"""Batches hold every row once, within their budget, and cut the stream where they say."""

from __future__ import annotations

import numpy as np
import pytest

from llm.batching import bucketed, chunks, in_order, pad, window_starts


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_bucketed_batches_hold_every_row_once_within_the_budget(seed: int | None) -> None:
    costs = np.random.default_rng(7).integers(1, 60, size=500)
    batches = bucketed([costs], batch_tokens=200, seed=seed)
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(costs[batch].max() * len(batch) <= 200 for batch in batches)


def test_a_row_dearer_than_the_budget_gets_a_batch_of_its_own() -> None:
    batches = bucketed([np.array([3, 900, 4])], batch_tokens=100, seed=None)
    assert [batch.tolist() for batch in batches] == [[0, 2], [1]]


def test_buckets_waste_less_than_a_tenth_on_padding() -> None:
    costs = np.random.default_rng(7).integers(4, 60, size=5000)
    batches = bucketed([costs], batch_tokens=2000, seed=3)
    padded = sum(costs[batch].max() * len(batch) for batch in batches)
    assert costs.sum() / padded > 0.9


def test_texts_of_two_sides_waste_less_than_a_tenth_though_their_lengths_differ() -> None:
    random = np.random.default_rng(8)
    sources = random.integers(5, 40, size=20_000)
    targets = np.maximum(1, sources + random.integers(-6, 7, size=sources.size))
    batches = bucketed([sources, targets], batch_tokens=4000, seed=3)
    assert sorted(np.concatenate(batches).tolist()) == list(range(sources.size))
    padded = [len(batch) * (sources[batch].max() + targets[batch].max()) for batch in batches]
    assert max(padded) <= 4000
    assert (sources.sum() + targets.sum()) / sum(padded) > 0.9


def test_the_same_seed_plans_the_same_epoch_and_another_seed_another() -> None:
    costs = np.arange(1, 200)
    plans = [[batch.tolist() for batch in bucketed([costs], batch_tokens=300, seed=seed)] for seed in (1, 1, 2)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]


def test_windows_in_order_cover_the_stream_without_overlap() -> None:
    assert window_starts(101, context=10, seed=None).tolist() == list(range(0, 91, 10))


def test_windows_with_a_seed_stay_inside_the_stream() -> None:
    for seed in range(20):
        starts = window_starts(101, context=10, seed=seed)
        assert starts.min() >= 0
        assert starts.max() + 11 <= 101
        assert len(set((starts % 10).tolist())) == 1


def test_a_stream_shorter_than_a_window_makes_none() -> None:
    assert window_starts(10, context=10, seed=None).size == 0
    assert window_starts(11, context=10, seed=1).tolist() == [0]


def test_chunks_are_longest_first_and_bounded_by_rows_and_tokens() -> None:
    assert chunks([3, 9, 1, 9, 2], rows=2, tokens=100) == [[1, 3], [0, 4], [2]]
    assert chunks([5, 5, 5], rows=10, tokens=10) == [[0, 1], [2]]


def test_pad_fills_on_the_right() -> None:
    rows = [np.array([1, 2, 3], dtype=np.int32), np.array([4], dtype=np.int32)]
    assert pad(rows, value=0).tolist() == [[1, 2, 3], [4, 0, 0]]


@pytest.mark.parametrize(
    ("items", "batches"),
    [
        (["aa", "b", "cccc", "", "d"], [["aa", "b"], ["cccc"], ["", "d"]]),
        (["aaa", ""], [["aaa"], [""]]),
        (["aaa"], [["aaa"]]),
        ([], [[]]),
    ],
)
def test_batches_in_order_are_filled_by_size(items: list[str], batches: list[list[str]]) -> None:
    assert list(in_order(iter(items), size=len, most=3)) == batches
