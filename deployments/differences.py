"""What `nightshift diff` prints: two versions of a family side by side, without what they have in common."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.tables import one_line, table
from tasks.registry.facts import facts_of
from tasks.registry.moves import find_reference

_LONGEST = 60


def show_differences(family: str, a: str, b: str) -> str:
    """The text for two versions, each a number or an alias.

    Raises RegistryError when there is no such version.
    """
    one, other = find_reference(family, a), find_reference(family, b)
    names = [f"version {version.version}" for version in (one, other)]
    rows = different(facts_of(one), facts_of(other))
    if not rows:
        return f"{family}: {names[0]} and {names[1]} do not differ"
    return table([family, *names], rows, indent="")


def different(one: Mapping[str, str], other: Mapping[str, str]) -> list[list[str]]:
    """Rows of a name and its two values, in the order in which the names come, where the values are not the same."""
    names = dict.fromkeys([*one, *other])
    return [
        [name, *(one_line(facts.get(name, "-"), longest=_LONGEST) for facts in (one, other))]
        for name in names
        if one.get(name) != other.get(name)
    ]
