"""What `nightshift history` prints: a family's ledger, and where it and the registry differ right now."""

from __future__ import annotations

from deployments.tables import one_line, table
from tasks.registry.aliases import Aliases, read_aliases
from tasks.registry.connection import client, registry_errors
from tasks.registry.ledger import Entry

_LONGEST = 120


def show_history(family: str) -> str:
    """The text for a family.

    Raises RegistryError when the registry cannot be reached.
    """
    with registry_errors(f"reading the history of {family}"):
        return tell_history(family, read_aliases(client(), family))


def tell_history(family: str, found: Aliases) -> str:
    """The ledger as a table, newest last, and a line for each thing that does not fit."""
    ledger = found.ledger
    lines = []
    if ledger.entries:
        head = ["", "when (UTC)", "what", "from", "to", "p-value", "level", "who", "why"]
        lines.append(table(head, [_row(entry) for entry in ledger.entries], indent=""))
    elif found.champion is None:
        lines.append(f"{family} has had no champion yet. Train one: nightshift run {family}")
    lines += [f"entry {number} is missing: its tag was deleted or damaged" for number in ledger.missing]
    if ledger.champion != found.champion:
        lines.append(
            f"right now {_told(found.champion)} is champion, and the ledger says {_told(ledger.champion)}: the alias "
            "was moved outside of Nightshift, or a crash came between; the next move will write that down"
        )
    return "\n".join(lines)


def _row(entry: Entry) -> list[str]:
    versions = [str(version) if version is not None else "-" for version in (entry.before, entry.after)]
    figures = [f"{value:.4g}" if value is not None else "-" for value in (entry.p_value, entry.level)]
    why = one_line("; ".join(entry.why), longest=_LONGEST)
    return [str(entry.number), f"{entry.when:%Y-%m-%d %H:%M}", entry.what, *versions, *figures, entry.who, why]


def _told(version: int | None) -> str:
    return f"version {version}" if version is not None else "nobody"
