"""Tokens that come one by one, as pieces of text that can be shown at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from llm.placeholders import named
from llm.tokenizer import TextTokenizer

_UNKNOWN = "\ufffd"  # what stands for bytes that are no UTF-8, or not yet
# The beginning of what `named` replaces, at the end of a text.
_OPEN = re.compile(r"\{[0-9]*\Z")


def decoded(ids: Iterable[int], tokenizer: TextTokenizer) -> Iterator[str]:
    """Pieces that, joined, are `tokenizer.decode(list(ids))`; no piece ends within a character of several tokens."""
    read: list[int] = []
    sent = ""
    for token in ids:
        read.append(token)
        # All of it each time: a decoder may treat a text's ends in a way of its own, and texts are short.
        text = tokenizer.decode(read).rstrip(_UNKNOWN)
        if len(text) > len(sent) and text.startswith(sent):
            yield text[len(sent) :]
            sent = text
    rest = tokenizer.decode(read)[len(sent) :]
    if rest:
        yield rest


def named_pieces(pieces: Iterable[str], names: Sequence[str]) -> Iterator[str]:
    """Pieces that, joined, are `named("".join(pieces), names)`; what may become a placeholder waits for its end."""
    waiting = ""
    for piece in pieces:
        waiting += piece
        end = found.start() if (found := _OPEN.search(waiting)) else len(waiting)
        if end:
            yield named(waiting[:end], names)
        waiting = waiting[end:]
    if waiting:
        yield waiting
