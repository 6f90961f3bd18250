"""Attention maps: where the last layers of a model look while it reads a few test rows.

They show over which paths it moves what it has read. They do not explain an answer: quite other maps often lead to the
same one (Jain and Wallace 2019, "Attention is not Explanation").

Shapes: H heads, T positions that look, S positions that are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from llm.evidence.attention_picture import attention
from llm.evidence.base import Table, drawn
from llm.model.watching import Attended, watched
from llm.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from llm.families.base import Row
    from llm.predictor import Predictor

ATTENTION_FILE = "attention.jsonl"
ROWS = 4
TOKENS = 20  # that are shown of a text: more could not be read in a picture
HEADS = 16
_READ = 512  # tokens; the probabilities of a longer text would fill the memory
_DIGITS = 4
_UNKNOWN = "\ufffd"


@dataclass(frozen=True)
class Axis:
    """The first tokens of a text, spelt out, and how many it has."""

    tokens: tuple[str, ...]
    total: int

    def told(self) -> str:
        """How much of the text is shown."""
        return f"{self.total} tokens" if len(self.tokens) == self.total else f"first {TOKENS} of {self.total} tokens"


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """What a stack's last layer attends to in one test row: (H, T, S) probabilities, `total_heads` in the model.

    T and S are at most TOKENS and H at most HEADS: of a longer text the rows shown sum to less than 1.
    """

    row: int
    stack: str
    cross: bool
    layer: int
    queries: Axis
    keys: Axis
    heads: NDArray[np.float64]
    mean: NDArray[np.float64]  # (T, S), over all heads
    total_heads: int

    @property
    def kind(self) -> str:
        """Which attention it is, in words."""
        return f"{self.stack} {'cross' if self.cross else 'self'}-attention".lstrip()

    def facts(self) -> dict[str, Any]:
        """For JSON; null where a broken model's probability is no number."""
        return {
            "row": self.row,
            "kind": self.kind,
            "layer": self.layer,
            "queries": {"tokens": list(self.queries.tokens), "total": self.queries.total},
            "keys": {"tokens": list(self.keys.tokens), "total": self.keys.total},
            "total_heads": self.total_heads,
            "mean": _numbers(self.mean),
            "heads": _numbers(self.heads),
        }


@torch.inference_mode()
def attention_maps(predictor: Predictor, rows: Sequence[Row]) -> list[AttentionMap]:
    """Maps of the last layer of each of the model's stacks, for at most ROWS of the test rows, drawn by seed."""
    longest = min(predictor.max_positions, _READ)
    maps = []
    for row in drawn(len(rows), most=ROWS):
        with predictor.products(), watched(predictor.model) as seen:
            texts = predictor.family.read(predictor, rows[row], longest=longest)
        axes = [_axis(ids, predictor.tokenizer) for ids in texts]
        last = [one for one in seen if one.place.layer == one.place.layers]
        maps += [_map(row, one, queries=axes[one.place.stack], keys=axes[_looked_at(one)]) for one in last]
    return maps


def attention_pictures(maps: Sequence[AttentionMap], *, family: str) -> dict[str, bytes]:
    """PNG files by name, one for each kind of attention: the rows below each other."""
    found = {}
    for kind, group in groupby(sorted(maps, key=lambda one: one.kind), key=lambda one: one.kind):
        some = list(group)
        name = f"attention_{kind.removesuffix('-attention').replace(' ', '_')}.png"
        found[name] = attention(some, title=f"{family}: {kind}, layer {some[0].layer} (the last)")
    return found


def attention_table(maps: Sequence[AttentionMap], inputs: Sequence[str]) -> Table:
    """Which of the test rows the maps are of; `inputs` of all test rows."""
    note = (
        f"Last layers, while the model reads these rows, drawn by seed, with their right answers; at most {TOKENS} "
        f"tokens are shown; numbers in {ATTENTION_FILE}. They explain no answer: other maps often lead to the same one "
        f"(Jain and Wallace 2019)."
    )
    read: dict[int, list[str]] = {}
    for one in maps:
        if not one.cross:
            read.setdefault(one.row, []).append(str(one.queries.total))
    rows = [(row, " + ".join(totals), inputs[row]) for row, totals in read.items()]
    return Table("Attention maps", note, ("test row", "tokens", "text"), list(rows))


def _looked_at(one: Attended) -> int:
    return one.place.stack - 1 if one.place.cross else one.place.stack


def _axis(ids: Sequence[int], tokenizer: TextTokenizer) -> Axis:
    shown = list(ids[:TOKENS])
    names = tokenizer.tokens()
    texts = tokenizer.decode_batch([[token] for token in shown])
    # Control tokens have no text, and of a character that is cut into several tokens none has one.
    spelt = [names[token] if not text or _UNKNOWN in text else text for token, text in zip(shown, texts, strict=True)]
    return Axis(tuple(spelt), len(ids))


def _map(row: int, one: Attended, *, queries: Axis, keys: Axis) -> AttentionMap:
    [whole] = one.probabilities.double().cpu().numpy()
    shown = whole[:, :TOKENS, :TOKENS]
    return AttentionMap(
        row=row,
        stack=one.place.name,
        cross=one.place.cross,
        layer=one.place.layer,
        queries=queries,
        keys=keys,
        heads=shown[:HEADS],
        mean=shown.mean(axis=0),
        total_heads=len(whole),
    )


def _numbers(values: NDArray[np.float64]) -> Any:
    listed = values.round(_DIGITS).astype(object)
    listed[~np.isfinite(values)] = None  # NaN is no JSON
    return listed.tolist()
