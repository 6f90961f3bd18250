"""The Prefect task that removes stages of long ago, and the same by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.families import FAMILIES
from llm.home import stages_folder
from llm.pruning import OldStage, remove, unneeded_stages
from tasks.figures import size
from tasks.registry.aliases import read_aliases
from tasks.registry.connection import client, registry_errors
from tasks.registry.versions import get_version


@task(name="remove old stages", cache_policy=NO_CACHE, persist_result=False)
def remove_old_stages(days: int) -> None:
    """Remove what nothing has used for so many days, and say so; see `unneeded`."""
    removed = remove(unneeded(days), root=stages_folder())
    if removed:
        get_run_logger().info("removed %s", told(removed, days))


def clean_up(days: int, *, dry_run: bool) -> str:
    """The same by hand, and what to tell; with `dry_run` nothing is removed.

    Raises RegistryError, and StageError when another process is at it and does not end.
    """
    old = unneeded(days)
    return f"would remove {told(old, days)}" if dry_run else f"removed {told(remove(old, root=stages_folder()), days)}"


def unneeded(days: int) -> list[OldStage]:
    """Stages that nothing has used for so many days and no version with an alias (the champion) came from.

    Raises RegistryError when the registry does not answer; it is asked only where there is something old.
    """
    since = datetime.now(UTC) - timedelta(days=days)
    return unneeded_stages(stages_folder(), unused_since=since, keep=_named_trainings)


def _named_trainings() -> list[str]:
    with registry_errors("asking which versions have an alias"):
        registry = client()
        numbers = {family: set(read_aliases(registry, family).versions.values()) for family in FAMILIES}
        versions = [get_version(registry, family, number) for family in FAMILIES for number in numbers[family]]
    return [version.training_key for version in versions]


def told(stages: Sequence[OldStage], days: int) -> str:
    """`12 stages that nothing has used for 30 days: 3 corpus, 9 training, 1.2 GB`."""
    count = "1 stage" if len(stages) == 1 else f"{len(stages) or 'no'} stages"
    names = [stage.name for stage in stages]
    kinds = [f"{names.count(name)} {name}" for name in sorted(set(names))]
    detail = f": {', '.join([*kinds, size(sum(stage.bytes for stage in stages))])}" if stages else ""
    return f"{count} that nothing has used for {days} days{detail}"
