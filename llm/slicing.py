"""Parts of a test split by what a row is: the masks that families name, each (N,) over N rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PARTS = ("short", "middle", "long")


def by_length(texts: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Thirds of N texts by their characters; texts as long as each other are in the same one."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    bounds = np.quantile(lengths, [1 / 3, 2 / 3]) if len(lengths) else np.zeros(2)
    third = np.searchsorted(bounds, lengths, side="left")
    return {f"length: {name}": third == number for number, name in enumerate(_PARTS)}


def by_value(kind: str, values: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """One for each value that N rows have."""
    found = np.array(values, dtype=object)
    return {f"{kind}: {value}": np.asarray(found == value, dtype=bool) for value in sorted(set(values))}
