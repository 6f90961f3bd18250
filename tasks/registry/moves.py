"""Moves of the champion that a person decides on: back to an earlier version, or on to one of their choice."""

from __future__ import annotations

from dataclasses import dataclass

from llm.errors import RegistryError
from tasks.registry.aliases import PREVIOUS, move_champion, read_aliases, require_champion
from tasks.registry.answers import carry_answer
from tasks.registry.connection import client, lock, registry_errors
from tasks.registry.ledger import Move
from tasks.registry.versions import Version, champion, get_version


@dataclass(frozen=True)
class Change:
    """Champion `now` (None: there is none) is to make way for `target`."""

    now: Version | None
    target: Version


def find_reference(family: str, reference: str) -> Version:
    """The version that a person means: by its number, or by an alias.

    Raises RegistryError that says what there is when there is no such version.
    """
    with registry_errors(f"looking for {family} {reference}"):
        mlflow_client = client()
        aliases = read_aliases(mlflow_client, family).versions
        numbers = sorted(int(found.version) for found in mlflow_client.search_model_versions(f"name = '{family}'"))
        wanted = aliases.get(reference) or (int(reference) if reference.isdecimal() else None)
        if wanted in numbers:
            return get_version(mlflow_client, family, wanted)
    known = ", ".join([*map(str, numbers), *sorted(aliases)])
    raise RegistryError(
        f"{family} has no version {reference!r}",
        remedy=f"name one of {known}" if known else f"train one: nightshift run {family}",
    )


def find_rollback(family: str, to: str | None) -> Change:
    """The change that a rollback is: to the version `to`, or to the one that was champion before this one.

    Raises RegistryError when there is no champion, nothing to go back to, or nothing to change.
    """
    now = champion(family)
    if now is None:
        raise RegistryError(f"{family} has no champion to roll back", remedy=f"see nightshift history {family}")
    with registry_errors(f"looking for the version of {family} before {now.version}"):
        aliases = read_aliases(client(), family).versions
    if to is None and aliases.get(PREVIOUS) in (None, now.version):
        found = aliases.get(PREVIOUS)
        problem = f"its alias `previous` names version {found} too" if found else "it has no alias `previous`"
        raise RegistryError(
            f"nothing is known to have been champion of {family} before version {now.version}: {problem}",
            remedy=f"choose one in nightshift history {family}, and name it: --to VERSION",
        )
    return _change(now, find_reference(family, to or PREVIOUS))


def find_promotion(family: str, version: str) -> Change:
    """The change that a promotion by hand is.

    Raises RegistryError when there is no such version, or when it is champion.
    """
    return _change(champion(family), find_reference(family, version))


def _change(now: Version | None, target: Version) -> Change:
    if now is not None and now.version == target.version:
        raise RegistryError(
            f"version {target.version} is the champion of {target.family} already",
            remedy=f"name another version; nightshift history {target.family} lists those that were champion",
        )
    return Change(now, target)


def carry_out(change: Change, move: Move) -> Version:
    """Move the champion as a person decided; returns the new champion.

    Raises RegistryError, and moves nothing, when the champion is not the one of the `change` any more.
    """
    family, number = change.target.family, change.target.version
    with registry_errors(f"making version {number} the champion of {family}"), lock(family):
        mlflow_client = client()
        before = change.now.version if change.now else None
        require_champion(mlflow_client, family, before, meanwhile=f"version {number} was being tested")
        move_champion(mlflow_client, family, number, move)
        # Tonight's data, options and code are still those that made the version left behind: without this, the night
        # would judge it anew (in no time, its training is cached) and undo what a person has just decided.
        for version in (change.target, change.now):
            if version is not None:
                carry_answer(mlflow_client, version, champion=number)
        return get_version(mlflow_client, family, number)
