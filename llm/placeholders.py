"""Placeholders such as {entity_name}: numbered before a text is tokenized, named again in what comes back.

Spelled out, a placeholder is several tokens, each a chance to go wrong, and new names come with every text. "{0}" is
the same few tokens in every text, so that keeping it is a short copy learnt once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

PLACEHOLDER = re.compile(r"\{[^{}]*\}")
# What is numbered: names and nothing else. The words of "{count, plural, one {# item} other {# items}}" are to be read.
_NAME = re.compile(r"\{[\w.:%-]*\}")
_NUMBERED = re.compile(r"\{([0-9]+)\}")


def names_in(text: str) -> list[str]:
    """The distinct placeholders of `text` that hold a name and nothing else, in order of appearance: "{name}"."""
    return list(dict.fromkeys(_NAME.findall(text)))


def numbered(text: str, names: Sequence[str]) -> str:
    """`text` with each placeholder that stands in `names` written as its number there: "{name}" as "{0}".

    Other placeholders stay as they are.
    """
    numbers = {name: f"{{{index}}}" for index, name in enumerate(names)}
    return _NAME.sub(lambda found: numbers.get(found[0], found[0]), text)


def named(text: str, names: Sequence[str]) -> str:
    """The inverse of `numbered`; a number that `names` lacks stays as it is."""

    def name(found: re.Match[str]) -> str:
        # A model may write any run of digits; int() refuses the very long ones.
        number = int(found[1]) if len(found[1]) <= 4 else len(names)
        return names[number] if number < len(names) else found[0]

    return _NUMBERED.sub(name, text)
