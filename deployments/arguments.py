"""Arguments that several commands take, and their checks, which import nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from llm.errors import ConfigError

FamilyArgument = Annotated[str, typer.Argument(metavar="FAMILY", help="generation, translation or classification")]


ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A family, for its champion; or FAMILY@ALIAS or FAMILY/VERSION, with or without models:/ before it.",
    ),
]
_REFERENCE = re.compile(r"(?:models:/)?(?P<family>[^@/]+)(?:[@/](?P<version>[^@/]+))?")


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


def known_reference(text: str) -> tuple[str, str]:
    """Family and version (a number or an alias) of what `ReferenceArgument` takes.

    Raises ConfigError when it is written in another way, or when there is no such family.
    """
    found = _REFERENCE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} names no model", remedy="write translation, translation@previous or translation/3")
    return known_family(found["family"]), found["version"] or "champion"
