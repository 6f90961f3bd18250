"""The families of language work: one file and one line each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from llm.errors import ConfigError

if TYPE_CHECKING:
    from llm.families.base import Family

# Paths, not classes: listing the names must not cost the import of torch.
FAMILIES: dict[str, str] = {
    "generation": "llm.families.generation:Generation",
    "translation": "llm.families.translation:Translation",
    "classification": "llm.families.classification:Classification",
}


def load_family(name: str) -> Family:
    """The family of that name.

    Raises ConfigError that lists the families when there is none.
    """
    if name not in FAMILIES:
        raise ConfigError(f"there is no family {name!r}", remedy=f"use one of {', '.join(FAMILIES)}")
    module, _, kind = FAMILIES[name].partition(":")
    return cast("Family", getattr(import_module(module), kind)())
