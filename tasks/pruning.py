"""The Prefect task that removes what nothing has used for long, and the same by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.corpora.unused_downloads import remove_downloads, unused_downloads
from llm.families import FAMILIES
from llm.home import downloads_folder, stages_folder
from llm.pruning import OldStage, remove, unneeded_stages
from llm.removal import Unused
from tasks.figures import size
from tasks.registry.aliases import read_aliases
from tasks.registry.connection import client, registry_errors
from tasks.registry.spool import remove_spools, unused_spools
from tasks.registry.unused_copies import remove_copies, unneeded_copies
from tasks.registry.versions import get_version


@dataclass(frozen=True)
class Leftovers:
    """What nothing has used for long, by kind; `spools` are metrics that MLflow never took."""

    stages: Sequence[OldStage]
    downloads: Sequence[Unused]
    copies: Sequence[Unused]
    spools: Sequence[Unused]


@task(name="remove old stages", cache_policy=NO_CACHE, persist_result=False)
def remove_old_stages(days: int) -> None:
    """Remove what nothing has used for so many days, and say so; see `unneeded`."""
    removed = removed_of(unneeded(days))
    if _counts(removed):
        get_run_logger().info("removed %s", told(removed, days))


def clean_up(days: int, *, dry_run: bool) -> str:
    """The same by hand, and what to tell; with `dry_run` nothing is removed.

    Raises RegistryError, and StageError when another process is at it and does not end.
    """
    old = unneeded(days)
    return f"would remove {told(old, days)}" if dry_run else f"removed {told(removed_of(old), days)}"


def unneeded(days: int) -> Leftovers:
    """What nothing has used for so many days, and no version with an alias (the champion) came from or is.

    Raises RegistryError when the registry does not answer; it is asked only where there is something old.
    """
    since = datetime.now(UTC) - timedelta(days=days)
    named = cache(_named_trainings)
    return Leftovers(
        stages=unneeded_stages(stages_folder(), unused_since=since, keep=named),
        downloads=unused_downloads(downloads_folder(), since=since),
        copies=unneeded_copies(unused_since=since, keep=named),
        spools=unused_spools(since=since),
    )


def removed_of(old: Leftovers) -> Leftovers:
    """Remove what is old, but for what somebody uses after all; returns what was removed.

    Raises StageError when another process is at it and does not end.
    """
    return Leftovers(
        stages=remove(old.stages, root=stages_folder()),
        downloads=remove_downloads(old.downloads, downloads=downloads_folder()),
        copies=remove_copies(old.copies),
        spools=remove_spools(old.spools),
    )


def _named_trainings() -> list[str]:
    with registry_errors("asking which versions have an alias"):
        registry = client()
        numbers = {family: set(read_aliases(registry, family).versions.values()) for family in FAMILIES}
        versions = [get_version(registry, family, number) for family in FAMILIES for number in numbers[family]]
    return [version.training_key for version in versions]


def told(old: Leftovers, days: int) -> str:
    """`12 stages that nothing has used for 30 days: 3 corpus, 9 training, 1.2 GB; 2 downloads: 30 MB`."""
    counts = _counts(old) or [("no stages, downloads, model copies or metrics", "")]
    (first, detail), *others = counts
    parts = [f"{first} that nothing has used for {days} days{detail}", *(count + detail for count, detail in others)]
    return "; ".join(parts)


def _counts(old: Leftovers) -> list[tuple[str, str]]:
    """How many there are of each kind that there is, as `2 downloads`, and the rest, as `: 30 MB`."""
    names = [stage.name for stage in old.stages]
    stages = "".join(f"{names.count(name)} {name}, " for name in sorted(set(names)))
    kinds: list[tuple[Sequence[OldStage | Unused], str, str, str]] = [
        (old.stages, "stage", "stages", stages),
        (old.downloads, "download", "downloads", ""),
        (old.copies, "model copy", "model copies", ""),
        (old.spools, "file of metrics", "files of metrics", ""),
    ]
    return [
        (f"{len(found)} {one if len(found) == 1 else many}", f": {detail}{size(sum(item.bytes for item in found))}")
        for found, one, many, detail in kinds
        if found
    ]
