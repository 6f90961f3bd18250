"""Stage folders that nothing has used for long: found, and removed, so that a home's stages do not grow for ever."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from llm.lineage import walk
from llm.removal import remove_locks, remove_temporaries, removing, tell
from llm.stages import MANIFEST, PARTIAL, lock_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OldStage:
    """A stage that was last used then, and what its folder holds; `whole` is false for one that was never finished."""

    name: str
    key: str
    path: Path
    used: float  # seconds since 1970
    bytes: int
    whole: bool


def unneeded_stages(root: Path, *, unused_since: datetime, keep: Callable[[], Iterable[str]]) -> list[OldStage]:
    """Stages under `root`, half-built ones too, that nothing has used since then; the longest unused first.

    Left out is what one that was used, or one with a key of `keep`, was made from: `keep` is called only where there is
    something old.
    """
    known = [stage for folder in root.glob("[!.]*/*") if (stage := _known(folder)) is not None]
    limit = unused_since.astimezone(UTC).timestamp()
    old = [stage for stage in known if stage.used < limit]
    if not old:
        return []
    young = [stage.key for stage in known if stage.used >= limit]
    needed = {manifest["key"] for manifest in walk([*young, *keep()], root=root)}
    return sorted((stage for stage in old if stage.key not in needed), key=lambda stage: (stage.used, stage.path))


def _known(folder: Path) -> OldStage | None:
    whole = (folder / MANIFEST).exists()
    if folder.is_symlink() or not (whole or folder.name.startswith(PARTIAL)):
        return None  # none of ours
    try:
        used = _used(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:
        return None  # somebody is at work in it
    return OldStage(folder.parent.name, folder.name.removeprefix(PARTIAL), folder, used=used, bytes=size, whole=whole)


def _used(folder: Path) -> float:
    """When a stage was last used, which renews its manifest, or a half-built one written to."""
    manifest = folder / MANIFEST
    seen = [manifest] if manifest.exists() else [folder, *folder.rglob("*")]
    return max(path.stat().st_mtime for path in seen)


def remove(stages: Iterable[OldStage], *, root: Path) -> list[OldStage]:
    """Remove stages under `root`, but for those that somebody uses after all; returns those removed.

    A folder first goes elsewhere, so that no half of a stage is ever found. What an earlier removal left goes too, and
    so do lock files of stages that are gone, and the file that a killed process had begun beside them. One that cannot
    be removed is told and passed over.

    Raises StageError when another process removes for ten minutes.
    """
    if not root.exists():
        return []
    with removing(root) as waiting:
        removed = [stage for stage in stages if _put_away(stage, waiting)]
        for parent in root.glob("[!.]*/"):
            remove_locks(parent, needed=partial(_is_there, parent))
        remove_temporaries(root)
    return removed


def _is_there(parent: Path, key: str) -> bool:
    return (parent / key).exists() or (parent / f"{PARTIAL}{key}").exists()


def _put_away(stage: OldStage, waiting: Path) -> bool:
    place = waiting / f"{stage.name}-{stage.key}-{os.getpid()}"
    try:
        with FileLock(lock_of(stage.path.parent, stage.key), timeout=0):
            os.replace(stage.path, place)
            if _used(place) == stage.used:
                return True
            os.replace(place, stage.path)  # it was used since it was looked at
    except Timeout:
        log.info("%s is being built, and stays", stage.path)
    except OSError as error:
        tell(None, str(stage.path), (type(error), error, None))
    return False
