"""The flow that makes an earlier version champion again; `nightshift rollback` is the same for a terminal."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.configuration import ChampionConfig
from tasks.moving import move, rollback_of, told, try_out
from tasks.registry.patience import patience


class RollbackConfig(ChampionConfig):
    """Which family goes back, and how far."""

    to: str | None = Field(
        None,
        title="Version",
        description="the number or an alias of the version to go back to; left out, the one that was champion before",
    )
    why: str = Field("", title="Why", description="goes into the history")


@flow(
    name="rollback",
    flow_run_name="rollback {config.family}",
    persist_result=True,  # as in `retrain`
    result_serializer="json",
)
def rollback(config: RollbackConfig) -> State[dict[str, Any]]:
    """Test the version before this one and make it champion; run again, it undoes that.

    The champion is untouched when the version cannot be found or does not pass its test.
    """
    with patience():
        change = rollback_of(config.family, config.to)
        seen = try_out(change.target)
        version = move(change, what="rolled back", why=config.why)
    return Completed(
        message=told(change, "rolled back"), data={"family": version.family, "version": version.version, "test": seen}
    )
