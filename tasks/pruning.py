"""The Prefect task that removes what a home no longer needs, and what it does: stages and champions of long ago."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.families import FAMILIES
from llm.home import stages_folder
from llm.pruning import OldStage, old_stages, remove, without_lineage
from tasks.figures import size
from tasks.registry.versions import champion


@task(name="remove old stages", cache_policy=NO_CACHE, persist_result=False)
def remove_old_stages(days: int) -> None:
    """Remove what nothing has used for so many days, and say so; see `unneeded`."""
    removed = remove(unneeded(days), root=stages_folder())
    if removed:
        get_run_logger().info("removed %s", told(removed, days))


def clean_up(days: int, *, dry_run: bool) -> str:
    """The same by hand, and what to tell; with `dry_run` nothing is removed.

    Raises RegistryError, and StorageError when the disk fails.
    """
    old = unneeded(days)
    return f"would remove {told(old, days)}" if dry_run else f"removed {told(remove(old, root=stages_folder()), days)}"


def unneeded(days: int) -> list[OldStage]:
    """Stages that nothing has used for so many days, but for those that a champion came from.

    Raises RegistryError when the registry cannot say who is champion; it is asked only where there is something old.
    """
    root = stages_folder()
    old = old_stages(root, unused_since=datetime.now(UTC) - timedelta(days=days))
    if not old:
        return []
    champions = [version.training_key for family in FAMILIES if (version := champion(family)) is not None]
    return without_lineage(old, champions, root=root)


def told(stages: Sequence[OldStage], days: int) -> str:
    """`12 stages that nothing has used for 30 days: 3 corpus, 9 training, 1.2 GB`."""
    count = "1 stage" if len(stages) == 1 else f"{len(stages) or 'no'} stages"
    names = [stage.name for stage in stages]
    kinds = [f"{names.count(name)} {name}" for name in sorted(set(names))]
    detail = f": {', '.join([*kinds, size(sum(stage.bytes for stage in stages))])}" if stages else ""
    return f"{count} that nothing has used for {days} days{detail}"
