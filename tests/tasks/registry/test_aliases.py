from __future__ import annotations

import pytest
from mlflow import MlflowClient

from tasks.registry.aliases import Aliases, move_champion, read_aliases
from tasks.registry.connection import client
from tasks.registry.ledger import Move

WRITES = (
    "set_registered_model_tag",
    "set_model_version_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)


def move(to: int, *, why: str = "better") -> Aliases:
    move_champion(client(), "translation", to, Move("promoted", (why,), who="me"))
    return now()


def now() -> Aliases:
    return read_aliases(client(), "translation")


def assert_chained(found: Aliases) -> None:
    entries = found.ledger.entries
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.before for entry in entries] == [None, *(entry.after for entry in entries[:-1])]


def test_the_first_champion_has_no_previous(bare_versions):
    bare_versions(1)
    found = move(1)
    assert found.versions == {"champion": 1}
    entry = found.ledger.entries[0]
    assert (entry.number, entry.what, entry.before, entry.after) == (1, "promoted", None, 1)
    assert (entry.why, entry.who) == (("better",), "me")


def test_the_version_that_was_champion_is_previous_and_each_move_is_an_entry(bare_versions):
    bare_versions(3)
    for number in (1, 3, 2):
        found = move(number)
    assert found.versions == {"champion": 2, "previous": 3}
    assert [(entry.before, entry.after) for entry in found.ledger.entries] == [(None, 1), (1, 3), (3, 2)]
    assert found.ledger.champion == found.champion


def test_only_the_challenger_that_became_champion_stops_being_challenger(bare_versions):
    bare_versions(2)
    client().set_registered_model_alias("translation", "challenger", "2")
    assert move(1).versions["challenger"] == 2
    assert "challenger" not in move(2).versions


@pytest.mark.parametrize("outside", ["3", None], ids=["moved", "deleted"])
def test_a_move_from_outside_is_found_and_written_down_before_the_next_one(bare_versions, outside):
    bare_versions(3)
    move(1)
    if outside:
        client().set_registered_model_alias("translation", "champion", outside)
    else:
        client().delete_registered_model_alias("translation", "champion")
    entries = move(2).ledger.entries
    there = int(outside) if outside else None
    told = [(entry.what, entry.before, entry.after) for entry in entries]
    assert told == [("promoted", None, 1), ("found", 1, there), ("promoted", there, 2)]


def test_a_champion_from_before_there_was_a_ledger_is_found_too(bare_versions):
    bare_versions(2)
    client().set_registered_model_alias("translation", "champion", "1")
    assert [(entry.what, entry.after) for entry in move(2).ledger.entries] == [("found", 1), ("promoted", 2)]


@pytest.mark.parametrize("write", range(5))
def test_a_crash_before_any_write_leaves_a_state_that_the_next_move_sets_right(bare_versions, monkeypatch, write):
    bare_versions(4)
    move(1)
    move(2)
    client().set_registered_model_alias("translation", "challenger", "3")
    with monkeypatch.context() as patch:
        die_before(patch, write)
        with pytest.raises(KeyboardInterrupt):
            move(3, why="will not be finished")
    crashed = now()
    # The champion is the old or the new one, and `previous` never one from before the old one that could be taken
    # for the version to go back to.
    assert crashed.champion == (3 if write == 4 else 2)
    assert (crashed.versions["previous"], crashed.champion) in {(1, 2), (2, 2), (2, 3)}
    # What happened is told honestly: an entry whose move did not happen shows as a difference.
    assert (crashed.ledger.champion != crashed.champion) is (write in {1, 2, 3})
    found = move(4)
    assert_chained(found)
    assert (found.champion, found.ledger.champion, found.versions["previous"]) == (4, 4, crashed.champion)
    assert ("found" in [entry.what for entry in found.ledger.entries]) is (write in {1, 2, 3})
    assert ("will not be finished" in [why for entry in found.ledger.entries for why in entry.why]) is (write > 0)


def die_before(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the process die before the write to the registry of that number, counted from 0."""
    writes = iter(range(100))

    def dying(original):
        def call(self, *arguments, **options):
            if next(writes) == number:
                raise KeyboardInterrupt
            return original(self, *arguments, **options)

        return call

    for name in WRITES:
        patch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))


def test_a_family_that_has_never_been_registered_has_nothing(home):
    found = now()
    assert (found.versions, found.champion, found.ledger.entries) == ({}, None, ())
