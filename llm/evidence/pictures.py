"""Pictures of an evaluation, as PNG files of some ten kilobytes; matplotlib draws them, without a window."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llm.metrics.calibration import Bin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 80
_LONGEST_NAME = 16


def reliability(bins: Sequence[Bin]) -> bytes:
    """Share that is right over mean score, with the interval of each bin; a calibrated model is on the diagonal."""
    figure, axes = _figure(4.5, 4.5)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for one in bins:
        axes.plot([one.score, one.score], [one.low, one.high], color="tab:blue", linewidth=1)
    axes.plot([one.score for one in bins], [one.right for one in bins], marker="o", markersize=4, color="tab:blue")
    axes.set(xlabel="mean score of a bin", ylabel="share that is right, with its 95 % interval", xlim=(0, 1.02))
    axes.set_ylim(0, 1.02)
    return png(figure)


def confusion(names: Sequence[str], counts: NDArray[np.int64]) -> bytes:
    """(C, C) rows by true and predicted class as shares of the true class."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, axes = _figure(6.5, 6)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    shown = [name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..." for name in names]
    # A label may hold "$", which matplotlib would read as a formula.
    axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(shown)), shown, fontsize=8, parse_math=False)
    axes.set(xlabel="answer", ylabel="right answer")
    figure.colorbar(image, ax=axes, label="share of the right answer's rows", fraction=0.046)
    return png(figure)


def by_length(lengths: Sequence[float], figures: Sequence[tuple[float, float, float]], *, metric: str) -> bytes:
    """A metric (figure, low, high) over the mean length of the rows that it was taken of."""
    figure, axes = _figure(5.5, 3.5)
    values, lows, highs = (np.array(side) for side in zip(*figures, strict=True))
    axes.fill_between(lengths, lows, highs, alpha=0.25, linewidth=0)
    axes.plot(lengths, values, marker="o", markersize=4)
    axes.set(xlabel="characters of the input (mean of a tenth of the rows)", ylabel=f"{metric}, 95 % interval")
    axes.set_xscale("log")
    return png(figure)


def loss_curve(points: Sequence[Mapping[str, Any]]) -> bytes:
    """Training and validation loss over steps, out of a training's history."""
    figure, axes = _figure(5.5, 3.5)
    for name, style in (("training_loss", {"alpha": 0.45}), ("validation_loss", {"marker": "o", "markersize": 3})):
        found = [(point["step"], point[name]) for point in points if name in point]
        if found:
            axes.plot(*zip(*found, strict=True), label=name.replace("_", " "), **style)
    axes.set(xlabel="step", ylabel="nats a target")
    axes.legend(fontsize=8)
    return png(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    # Not pyplot: it would keep every figure, and choose a window where there is a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="tight")
    return figure, figure.subplots()


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a writing that the font lacks is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()
