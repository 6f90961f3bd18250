"""Numbers as people read them: metrics in a line, a curve in a row of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

_BLOCKS = "▁▂▃▄▅▆▇█"


def figures(metrics: Mapping[str, float]) -> str:
    """`bleu 21.3, chrf 45`."""
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())


def within(value: float, interval: Sequence[float] | None) -> str:
    """`21.34 (20.88 to 21.79)`: a figure with its interval, where there is one.

    An interval without width, of rows that are all alike, would look like certainty.
    """
    if interval is None or interval[0] == interval[1]:
        return f"{value:.4g}"
    return f"{value:.4g} ({interval[0]:.4g} to {interval[1]:.4g})"


def duration(seconds: float) -> str:
    """`40 s`, `12 min` or `1 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


def size(count: float) -> str:
    """Bytes as `512 B`, `3.4 kB` or `1.2 GB`, in steps of a thousand."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB" if count < 1000 else f"{count:,.0f} GB"


def sparkline(values: Sequence[float], *, width: int = 40) -> str:
    """The shape of a curve in at most `width` characters: each is the mean of its share of the points."""
    if not values:
        return ""
    width = min(width, len(values))
    cuts = [len(values) * place // width for place in range(width + 1)]
    means = [sum(values[start:stop]) / (stop - start) for start, stop in pairwise(cuts)]
    low, high = min(means), max(means)
    if high == low:
        return _BLOCKS[0] * width
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round((mean - low) / (high - low) * top)] for mean in means)
