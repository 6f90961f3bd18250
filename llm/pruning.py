"""Stage folders that nothing has used for long: found, and removed, so that a home does not grow for ever."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from llm.files import storing
from llm.lineage import walk
from llm.stages import MANIFEST, PARTIAL, lock_of

_REMOVED = ".removed-"


@dataclass(frozen=True)
class OldStage:
    """A stage that was last used then, and what its folder holds; `whole` is false for one that was never finished."""

    name: str
    key: str
    path: Path
    used: datetime
    bytes: int
    whole: bool


def old_stages(root: Path, *, unused_since: datetime) -> list[OldStage]:
    """Stages under `root`, half-built ones too, that nothing has used since then; the longest unused first."""
    folders = [folder for folder in root.glob("*/*") if folder.is_dir() and not folder.name.startswith(_REMOVED)]
    found = [stage for folder in folders if (stage := _known(folder)) is not None and stage.used < unused_since]
    return sorted(found, key=lambda stage: (stage.used, stage.path))


def _known(folder: Path) -> OldStage | None:
    whole = (folder / MANIFEST).exists()
    if not whole and not folder.name.startswith(PARTIAL):
        return None  # none of ours
    try:
        # A stage that is used again gets a new time on its manifest; one that is being built, new files.
        seen = [folder / MANIFEST] if whole else [folder, *folder.rglob("*")]
        used = max(path.stat().st_mtime for path in seen)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except FileNotFoundError:
        return None  # somebody is at work in it
    return OldStage(
        name=folder.parent.name,
        key=folder.name.removeprefix(PARTIAL),
        path=folder,
        used=datetime.fromtimestamp(used, UTC),
        bytes=size,
        whole=whole,
    )


def without_lineage(stages: Iterable[OldStage], keys: Iterable[str], *, root: Path) -> list[OldStage]:
    """The stages that have no part in those with these keys."""
    kept = {manifest["key"] for manifest in walk(keys, root=root)}
    return [stage for stage in stages if stage.key not in kept]


def remove(stages: Collection[OldStage], *, root: Path) -> list[OldStage]:
    """Remove stages under `root`, but for those that somebody uses after all; returns those removed.

    A folder first loses its name, so that no half of a stage is ever found. What an earlier removal left goes too.
    Nothing is done while another process removes.

    Raises StorageError when the disk fails.
    """
    if not root.exists():
        return []
    try:
        with storing(root), FileLock(root / ".pruning.lock", timeout=0):
            removed = [stage for stage in stages if _hide(stage)]
            for folder in root.glob(f"*/{_REMOVED}*"):
                shutil.rmtree(folder)
    except Timeout:
        return []
    return removed


def _hide(stage: OldStage) -> bool:
    try:
        with FileLock(lock_of(stage.path.parent, stage.key), timeout=0):
            now = _known(stage.path)
            if now is None or now.used != stage.used:
                return False
            os.replace(stage.path, stage.path.with_name(f"{_REMOVED}{stage.key}-{os.getpid()}"))
    except Timeout:
        return False  # it is being built
    return True
