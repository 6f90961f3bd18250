"""Arguments that several commands take, and their checks, which import nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from llm.errors import ConfigError

FamilyArgument = Annotated[str, typer.Argument(metavar="FAMILY", help="generation, translation or classification")]


def all_families() -> list[str]:
    """The names of the families."""
    from llm.families import FAMILIES

    return list(FAMILIES)


def known_family(name: str) -> str:
    """The name itself; checked before the heavy imports, so that a typing error costs no wait.

    Raises ConfigError that lists the families when there is none of that name.
    """
    known = all_families()
    if name not in known:
        raise ConfigError(f"there is no family {name!r}", remedy=f"use one of {', '.join(known)}")
    return name


def parse_pairs(pairs: Iterable[str], *, option: str) -> dict[str, Any]:
    """`key=value` texts to a dict; values are read as YAML, so 3 is a number and [a, b] a list.

    Raises ConfigError that names the pair.
    """
    import yaml

    found = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"{option} {pair!r}: expected key=value", remedy=f"write {option} training.steps=2000")
        try:
            found[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"{option} {pair!r}: the value is not YAML", remedy="quote it, as in 'a: b'") from None
    return found
