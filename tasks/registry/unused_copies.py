"""Copies of registered models on this machine that nothing has used for long; the registry itself loses nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from llm.families import FAMILIES
from llm.home import home
from llm.removal import Unused, remove_folders, unused


def unneeded_copies(*, unused_since: datetime, keep: Callable[[], Iterable[str]]) -> list[Unused]:
    """Copies that nothing has used since then, but for those of the training keys `keep`.

    `keep` is called only where there is something old.
    """
    old = unused((path for family in FAMILIES for path in (_root() / family).glob("[!.]*/")), since=unused_since)
    kept = set(keep()) if old else set()
    return [copy for copy in old if copy.path.name not in kept]


def remove_copies(copies: Iterable[Unused]) -> list[Unused]:
    """Remove copies, but for those that a process holds, such as a server; returns those removed.

    Raises StageError when another process removes for ten minutes.
    """
    return remove_folders(copies, root=_root())


def _root() -> Path:
    return home() / "champions"
