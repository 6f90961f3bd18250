"""The flow that makes a version champion by a person's decision; `nightshift promote` is the same for a terminal."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.configuration import ChampionConfig
from tasks.moving import move, promotion_of, told, try_out
from tasks.registry.patience import patience


class PromoteConfig(ChampionConfig):
    """Which version of which family, and why."""

    version: str = Field(
        "challenger", min_length=1, title="Version", description="the number or an alias of the version to promote"
    )
    why: str = Field(min_length=1, title="Why", description="your reason, against the gate's; goes into the history")


@flow(
    name="promote",
    flow_run_name="promote {config.family}",
    persist_result=True,  # as in `retrain`
    result_serializer="json",
)
def promote(config: PromoteConfig) -> State[dict[str, Any]]:
    """Test a version and make it champion, whatever the gate said.

    The champion is untouched when the version cannot be found or does not pass its test.
    """
    with patience():
        change = promotion_of(config.family, config.version)
        seen = try_out(change.target)
        version = move(change, what="promoted by hand", why=config.why)
    return Completed(
        message=told(change, "promoted by hand"),
        data={"family": version.family, "version": version.version, "test": seen},
    )
