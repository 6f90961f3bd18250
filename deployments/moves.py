"""What `nightshift rollback` and `nightshift promote` do: find the version, test it, move the champion.

No Prefect here: a rollback is wanted at once, and starting a server takes longer than the rest. In the Prefect UI the
flows `rollback` and `promote` do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployments.processes import terminable
from llm.processes import cores
from llm.progress import waiting
from tasks.reload import FreshProcess

if TYPE_CHECKING:
    from tasks.registry.ledger import What
    from tasks.registry.moves import Change


def roll_back(family: str, *, to: str | None, why: str) -> str:
    """Go back to the version `to` (None: the one before this); returns what to tell.

    Raises RegistryError, ChecksumError or GateError, with the champion untouched, when there is no such version or it
    is not fit.
    """

    def find() -> Change:
        from tasks.registry.moves import find_rollback

        return find_rollback(family, to)

    return _move(family, find, what="rolled back", why=why)


def promote_by_hand(family: str, version: str, *, why: str) -> str:
    """Make `version` champion; returns what to tell, and raises as `roll_back` does."""

    def find() -> Change:
        from tasks.registry.moves import find_promotion

        return find_promotion(family, version)

    return _move(family, find, what="promoted by hand", why=why)


def _move(family: str, find: Callable[[], Change], *, what: What, why: str) -> str:
    # The process comes first, though the version may turn out not to exist: it imports torch and MLflow in the time in
    # which we import MLflow, and that is most of what all this takes.
    with terminable(), FreshProcess(threads=cores()) as process, waiting(f"changing the champion of {family}"):
        from tasks.load_test import load_test
        from tasks.registry.ledger import Move, person
        from tasks.registry.moves import carry_out

        change = find()
        seen = load_test(change.target, process)
        carry_out(change, Move(what, (why,) if why else (), who=person()))
    before = f"version {change.now.version}" if change.now else "nobody"
    lines = [f"{family}: version {change.target.version} is champion, {before} was: {what}", f"- {seen}"]
    if change.now is not None:
        lines.append(f"- to undo it: nightshift rollback {family}")
    return "\n".join(lines)
