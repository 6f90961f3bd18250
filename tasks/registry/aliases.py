"""Aliases of a family's versions, and the one way in which `champion` moves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient

from llm.errors import RegistryError
from tasks.registry.connection import TAG_PREFIX
from tasks.registry.ledger import Ledger, Move, append, read_ledger

CHAMPION = "champion"
CHALLENGER = "challenger"
PREVIOUS = "previous"
SINCE = f"{TAG_PREFIX}champion_since"
_OUTSIDE = "the alias was moved outside of Nightshift, or a crash came between the entry and the move"


@dataclass(frozen=True)
class Aliases:
    """Who is what in a family, and how that came about, as one reply of the registry tells it."""

    versions: dict[str, int]
    ledger: Ledger

    @property
    def champion(self) -> int | None:
        """The version that users get; None: there is none."""
        return self.versions.get(CHAMPION)


def read_aliases(mlflow_client: MlflowClient, family: str) -> Aliases:
    """The aliases and the ledger of a family; empty where it has no versions."""
    # By search and not by name: asking for a model or an alias that is not there raises, with changing error codes.
    found = mlflow_client.search_registered_models(f"name = '{family}'")
    if not found:
        return Aliases({}, read_ledger({}))
    return Aliases({name: int(number) for name, number in found[0].aliases.items()}, read_ledger(found[0].tags))


def require_champion(mlflow_client: MlflowClient, family: str, expected: int | None, *, meanwhile: str) -> None:
    """Raise RegistryError when the champion is not (any more) the one that a decision was about."""
    now = read_aliases(mlflow_client, family).champion
    if now != expected:
        raise RegistryError(
            f"the champion of {family} became version {now or 'none'} while {meanwhile}",
            remedy="run again: it will be decided against the new champion",
        )


def move_champion(mlflow_client: MlflowClient, family: str, to: int, move: Move) -> None:
    """Make version `to` the champion, the one before it `previous`, and write both down. The lock must be held.

    The order is what a crash, or a registry that goes away, may leave behind at any point:

    1. The ledger first catches up with what it does not know, so that entries chain.
    2. The entry comes before the move. After it, who and why are safe; a move that then did not happen is told by the
       next entry, `found`. The other way round, a move could be in force with nobody knowing whose it was.
    3. `previous` comes before `champion`. Cut off in between, both name one version, and a rollback refuses. The other
       way round, `previous` would name the champion before the last, and a rollback would go one too far.
    4. `challenger` is dropped last: a champion that is still called challenger misleads nobody.
    """
    now = read_aliases(mlflow_client, family)
    ledger = _catch_up(mlflow_client, family, now, who=move.who)
    append(mlflow_client, family, ledger, move, after=to)
    mlflow_client.set_model_version_tag(family, str(to), SINCE, datetime.now(UTC).isoformat(timespec="seconds"))
    if now.champion is not None:
        mlflow_client.set_registered_model_alias(family, PREVIOUS, str(now.champion))
    mlflow_client.set_registered_model_alias(family, CHAMPION, str(to))
    if now.versions.get(CHALLENGER) == to:
        mlflow_client.delete_registered_model_alias(family, CHALLENGER)


def _catch_up(mlflow_client: MlflowClient, family: str, now: Aliases, *, who: str) -> Ledger:
    if now.ledger.champion == now.champion:
        return now.ledger
    # `who` found it, which is not to say that they moved it.
    return append(mlflow_client, family, now.ledger, Move("found", (_OUTSIDE,), who), after=now.champion)
