"""What the layers of a model attend to while it runs, seen from outside: no code of the model knows of it.

Shapes: B batch, H heads, T queries, S keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from llm.model.attention import CrossAttention, SelfAttention
from llm.model.layers import Block

_STACK = "blocks"  # how the attributes end that hold a model's blocks


@dataclass(frozen=True)
class Place:
    """A layer's attention: `stack` numbers the model's stacks of blocks from 0, in its order, `layer` counts from 1.

    `name` is the stack's: "encoder", "decoder", or "" where there is one alone. What a stack's cross-attention looks
    at is the text of the stack before.
    """

    stack: int
    name: str
    layer: int
    layers: int
    cross: bool


@dataclass(frozen=True, eq=False)
class Attended:
    """The probabilities (B, H, T, S) of one call: rows are the positions that look, and sum to 1."""

    place: Place
    probabilities: Tensor


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Attended]]:
    """Inside, each call of the model adds what its layers attend to, in the order in which they run.

    They are computed beside the call, which gives what it gives otherwise. Behind the block, also after an error, the
    model is as before.
    """
    seen: list[Attended] = []
    with ExitStack() as hooks:
        for place, attention in _attentions(model):
            note = partial(_note, seen, place)
            hooks.enter_context(attention.register_forward_pre_hook(note, with_kwargs=True))
        yield seen


def _note(
    seen: list[Attended],
    place: Place,
    attention: SelfAttention | CrossAttention,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    seen.append(Attended(place, attention.probabilities(*arguments, **options).detach()))


def _attentions(model: nn.Module) -> Iterator[tuple[Place, SelfAttention | CrossAttention]]:
    stacks = [(name, blocks) for name, blocks in model.named_children() if isinstance(blocks, nn.ModuleList)]
    for stack, (attribute, blocks) in enumerate(stacks):
        name = attribute.removesuffix(_STACK).rstrip("_")
        for layer, block in enumerate(blocks, start=1):
            assert isinstance(block, Block)
            yield Place(stack, name, layer, len(blocks), cross=False), block.attention
            if block.cross_attention is not None:
                yield Place(stack, name, layer, len(blocks), cross=True), block.cross_attention
