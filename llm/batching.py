"""Which rows go into which batch: packed windows for generation, buckets of like length for the others, and in order.

Shapes: B rows a batch, T positions, N rows of a split.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

# Rows are sorted by length after a disturbance of this many tokens: batches differ from epoch to epoch, at the price
# of a little padding.
_JITTER = 2.0
# Rows whose first lengths lie in the same step of so many tokens are sorted by their second.
_STEP = 2.0


def window_starts(total: int, *, context: int, seed: int | None) -> NDArray[np.int64]:
    """First positions of the windows of context + 1 tokens that cut a stream of `total` tokens.

    With a seed, the windows begin at a random offset and come in random order, so that no two epochs cut alike;
    without, they begin at 0, in order. A stream shorter than one window gives none.
    """
    room = total - (context + 1)
    if room < 0:
        return np.empty(0, dtype=np.int64)
    if seed is None:
        return np.arange(0, room + 1, context, dtype=np.int64)
    random = np.random.default_rng(seed)
    starts = np.arange(random.integers(0, min(context, room + 1)), room + 1, context, dtype=np.int64)
    random.shuffle(starts)
    return starts


def bucketed(lengths: Sequence[NDArray[np.int64]], *, batch_tokens: int, seed: int | None) -> list[NDArray[np.int64]]:
    """Batches of rows of like lengths, each at most `batch_tokens` with padding counted.

    `lengths` has one array (N,) in tokens a text of the row: (source, target), or the text alone. A row that is longer
    than `batch_tokens` makes a batch of its own. Every row is in exactly one batch.
    """
    random = np.random.default_rng(seed) if seed is not None else None
    order = _by_length(lengths, random)
    sorted_lengths = np.stack([column[order] for column in lengths], axis=1).tolist()
    batches = []
    start = 0
    longest = [0] * len(lengths)
    for end, row in enumerate(sorted_lengths):
        grown = [max(pair) for pair in zip(longest, row, strict=True)]
        if end > start and sum(grown) * (end - start + 1) > batch_tokens:
            batches.append(order[start:end])
            start, grown = end, row
        longest = grown
    if start < order.size:
        batches.append(order[start:])
    if random is not None:
        random.shuffle(batches)
    return batches


def _by_length(lengths: Sequence[NDArray[np.int64]], random: np.random.Generator | None) -> NDArray[np.int64]:
    """Row numbers sorted by the last length within steps of the one before it, and so on."""
    disturbed = [
        column if random is None else column + random.uniform(0.0, _JITTER, size=column.size) for column in lengths
    ]
    keys = [np.floor(column / _STEP) for column in disturbed[:-1]] + disturbed[-1:]
    # lexsort takes the most important key last.
    order: NDArray[np.int64] = np.lexsort(keys[::-1])
    return order


def chunks(lengths: Sequence[int], *, rows: int, tokens: int) -> list[list[int]]:
    """Row numbers in batches for prediction, longest first; at most `rows` rows and `tokens` padded tokens each."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        if batches and len(batches[-1]) < rows and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= tokens:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def in_order(items: Iterable[T], *, size: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Cut a stream into lists whose sizes sum to `most` or more by the last item; an empty one gives one empty list.

    Cut by count, a list of long texts could fill the memory.
    """
    batch: list[T] = []
    filled, first = 0, True
    for item in items:
        batch.append(item)
        filled += size(item)
        if filled >= most:
            yield batch
            batch, filled, first = [], 0, False
    if batch or first:
        yield batch


def pad(rows: Sequence[NDArray[np.int32]], *, value: int) -> NDArray[np.int64]:
    """Rows of different lengths as one (B, T) array, `value` on the right of the short ones."""
    padded = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
