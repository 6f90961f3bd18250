"""Arguments that several commands take, and their checks, which import nothing heavy."""

from __future__ import annotations

from typing import Annotated

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
