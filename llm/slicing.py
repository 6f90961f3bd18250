"""Parts of a test split by what a row is: the masks that families name, each (N,) over N rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llm.statistics.slices import MINIMUM_ROWS

_PARTS = ("short", "middle", "long")
# Each slice that is looked at raises what the others must show.
_MOST_GROUPS = 8
_WORD = re.compile(r"[^\W\d_]+")


def of_every_kind(rows: Sequence[Mapping[str, str]], texts: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """What every family looks at: N rows of a corpus by length of their texts, rare words, and where they are from."""
    return by_length(texts) | rare_words(texts) | by_group([row["group"] for row in rows])


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


def by_group(groups: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """The largest groups of N rows (a play, a component, a source), as far as they have enough rows to be judged."""
    large = [name for name, count in Counter(groups).most_common(_MOST_GROUPS) if count >= MINIMUM_ROWS]
    values = np.array(groups, dtype=object)
    return {f"from: {name}": np.asarray(values == name, dtype=bool) for name in sorted(large)}


def rare_words(texts: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Those of N texts with a word that no other of them has."""
    words = [set(_WORD.findall(text.casefold())) for text in texts]
    holders = Counter(word for found in words for word in found)
    rare = [any(holders[word] == 1 for word in found) for found in words]
    return {"rare words": np.array(rare, dtype=bool)}
