"""The picture of some attention maps: token by token, and each head small.

It is put together pixel by pixel and not as axes with ticks, which would take matplotlib three times as long to draw.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llm.evidence.pictures import DPI, png

if TYPE_CHECKING:
    from llm.evidence.attention import AttentionMap

# Pixels: the side of a map at most, and of a cell; what is left of a map, above and below it, and between two.
_SIDE, _CELL = 200, 24
_LEFT, _ABOVE, _BELOW, _BETWEEN = 84, 22, 84, 28
_TITLE = 26
_BAR = 12
_WIDTH = _LEFT + _SIDE + _BETWEEN + _SIDE + _BETWEEN + _BAR + 44
_TICKS = (0.0, 0.05, 0.2, 0.5, 1.0)
_GREYS = 32  # of text; the other colours of 256 are for probabilities
_LONGEST_TOKEN = 10
_TOKEN_SIZE, _TEXT_SIZE = 7, 8
# What would not be seen in a label.
_VISIBLE = str.maketrans({" ": "\u00b7", "\n": "\u21b5", "\t": "\u2192"})


def attention(maps: Sequence[AttentionMap], *, title: str) -> bytes:
    """A PNG file: for each map the mean over heads and beside it each head, maps below each other.

    The scale of colours is the same in all such pictures: that of the square root, since among many tokens
    probabilities are small.
    """
    heights = [_height(one) for one in maps]
    picture = _Picture(_TITLE + sum(heights))
    picture.text(8, _TITLE / 2, title, size=10)
    top = _TITLE + _ABOVE
    for one, height in zip(maps, heights, strict=True):
        _draw(picture, one, top=top)
        top += height
    return picture.png()


class _Picture:
    """Pixels counted from the left and from the top, white where nothing is drawn."""

    def __init__(self, height: int) -> None:
        # Not pyplot: see llm.evidence.pictures.
        from matplotlib import colormaps
        from matplotlib.figure import Figure

        self._colours = colormaps["Blues"]
        self._pixels = np.full((height, _WIDTH, 4), 255, dtype=np.uint8)
        self._figure = Figure(figsize=(_WIDTH / DPI, height / DPI))

    def place(self, values: NDArray[np.float64], *, left: int, top: int, cell: int) -> tuple[int, int]:
        """Draw (rows, columns) probabilities as squares of `cell` pixels; returns where they end, right and below."""
        from matplotlib.patches import Rectangle
        from matplotlib.transforms import IdentityTransform

        # Coloured before they are enlarged: a picture has a million pixels.
        squares = self._colours(np.sqrt(values), bytes=True).repeat(cell, axis=0).repeat(cell, axis=1)
        height, width = squares.shape[:2]
        self._pixels[top : top + height, left : left + width] = squares
        corner = (left, len(self._pixels) - top - height)
        style: dict[str, Any] = {"fill": False, "edgecolor": "0.6", "linewidth": 0.5}
        self._figure.add_artist(Rectangle(corner, width, height, transform=IdentityTransform(), **style))
        return left + width, top + height

    def text(self, left: float, top: float, text: str, *, size: int = _TEXT_SIZE, **style: Any) -> None:
        """Write a text whose left end, or whatever `style` aligns, is there."""
        from matplotlib.transforms import IdentityTransform

        style = {"va": "center", **style}
        # A token may hold "$", which matplotlib would read as a formula.
        self._figure.text(
            left, len(self._pixels) - top, text, size=size, transform=IdentityTransform(), parse_math=False, **style
        )

    def png(self) -> bytes:
        """The file, in as many colours as a palette has: a third of the bytes."""
        from PIL import Image

        self._figure.figimage(self._pixels, origin="upper")
        whole = Image.open(io.BytesIO(png(self._figure))).convert("RGB")
        greys = np.linspace(0, 255, _GREYS).astype(np.uint8)[:, None].repeat(3, axis=1)
        shades = self._colours(np.linspace(0, 1, 256 - _GREYS), bytes=True)[:, :3]
        palette = Image.new("P", (1, 1))
        palette.putpalette(np.concatenate([greys, shades]).tobytes())
        buffer = io.BytesIO()
        whole.quantize(palette=palette, dither=Image.Dither.NONE).save(buffer, format="png")
        return buffer.getvalue()


def _height(one: AttentionMap) -> int:
    return _ABOVE + max(_cell(one.mean) * len(one.mean), _SIDE // 2) + _BELOW


def _cell(values: NDArray[np.float64]) -> int:
    longest: int = max(values.shape)
    return max(1, min(_CELL, _SIDE // longest))


def _draw(picture: _Picture, one: AttentionMap, *, top: int) -> None:
    cell = _cell(one.mean)
    picture.text(_LEFT, top - 10, f"test row {one.row}: mean of {one.total_heads} heads")
    _, bottom = picture.place(one.mean, left=_LEFT, top=top, cell=cell)
    for number, token in enumerate(one.queries.tokens):
        picture.text(_LEFT - 4, top + (number + 0.5) * cell, _label(token), size=_TOKEN_SIZE, ha="right")
    for number, token in enumerate(one.keys.tokens):
        at = _LEFT + (number + 0.5) * cell
        picture.text(at, bottom + 4, _label(token), size=_TOKEN_SIZE, rotation=90, ha="center", va="top")
    picture.text(10, (top + bottom) / 2, f"looks: {one.queries.told()}", rotation=90, ha="center")
    picture.text(_LEFT, bottom + _BELOW - 20, f"looked at: {one.keys.told()}")
    heads = side_by_side(one.heads)
    left = _LEFT + _SIDE + _BETWEEN
    shown = "each head" if len(one.heads) == one.total_heads else f"the first {len(one.heads)} heads"
    picture.text(left, top - 10, shown)
    picture.place(heads, left=left, top=top, cell=_cell(heads))
    _bar(picture, left=left + _SIDE + _BETWEEN, top=top)


def _bar(picture: _Picture, *, left: int, top: int) -> None:
    """The colours of probabilities, from 1 at the top down to 0; their square roots are spaced evenly."""
    length = _SIDE // 2
    right, _ = picture.place(np.linspace(1, 0, length)[:, None].repeat(_BAR, axis=1) ** 2, left=left, top=top, cell=1)
    for tick in _TICKS:
        picture.text(right + 4, top + (1 - math.sqrt(tick)) * length, f"{tick:g}", size=_TOKEN_SIZE)
    picture.text(left, top - 10, "probability")


def _label(token: str) -> str:
    cut = token if len(token) <= _LONGEST_TOKEN else f"{token[: _LONGEST_TOKEN - 1]}\u2026"
    return cut.translate(_VISIBLE)


def side_by_side(heads: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, T, S) -> one array, about as high as it is wide, heads in reading order, with a cell of NaN between."""
    count, height, width = heads.shape
    columns = math.ceil(math.sqrt(count))
    whole = np.full((math.ceil(count / columns) * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for number, head in enumerate(heads):
        down, right = (number // columns) * (height + 1), (number % columns) * (width + 1)
        whole[down : down + height, right : right + width] = head
    return whole
