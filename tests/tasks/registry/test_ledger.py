from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.registry.connection import client
from tasks.registry.ledger import Entry, Move, append, encode, person, read_ledger

ENTRY = Entry(
    number=7,
    when=datetime(2026, 5, 1, 2, 41, tzinfo=UTC),
    who="flow run 6f1c",
    what="promoted",
    before=2,
    after=3,
    why=("BLEU 22.1 against 21.5", 'loads in a fresh process and says "Grüße"'),
    p_value=0.012,
    level=0.05,
)


def tags_of(*entries: Entry) -> dict[str, str]:
    return {f"nightshift.ledger.{entry.number:06d}": encode(entry) for entry in entries}


@pytest.mark.parametrize(
    "entry",
    [
        ENTRY,
        replace(ENTRY, what="found", before=None, after=3, why=(), p_value=None, level=None),
        replace(ENTRY, what="rolled back", after=None),
    ],
    ids=lambda entry: entry.what,
)
def test_an_entry_comes_back_from_its_tag_as_it_was_written(entry):
    assert read_ledger(tags_of(entry)).entries == (entry,)


@pytest.mark.parametrize(
    ("why", "who"),
    [
        (("short", "x" * 20_000), "me"),
        (('"\n' * 9_000, "ä" * 9_000), "me"),
        (("no",) * 4_000, "me"),
        ((), "u" * 9_000),
    ],
    ids=["long", "escaped", "many", "user"],
)
def test_whatever_the_reasons_an_entry_fits_the_column_and_says_what_moved(why, who):
    entry = replace(ENTRY, why=why, who=who)
    assert len(encode(entry)) <= 5_000
    read = read_ledger(tags_of(entry)).entries[0]
    assert (read.what, read.before, read.after, read.p_value) == ("promoted", 2, 3, 0.012)


def test_of_long_and_short_reasons_the_long_ones_are_shortened():
    read = read_ledger(tags_of(replace(ENTRY, why=("short", "x" * 20_000)))).entries[0]
    assert read.why[0] == "short"
    assert read.why[1].endswith("xxx…")


def test_entries_are_read_in_the_order_of_their_numbers_and_other_tags_are_left_alone():
    tags = tags_of(*(replace(ENTRY, number=number) for number in (1_000_000, 999_999)))
    found = read_ledger(tags | {"nightshift.ledger.x": "{}", "team": "night"})
    assert [entry.number for entry in found.entries] == [999_999, 1_000_000]


@pytest.mark.parametrize("damaged", [None, "", "[]", "{}", "null", '{"what": "promoted"}'])
def test_an_entry_that_somebody_deleted_or_damaged_is_missing_and_its_number_is_not_given_out_again(damaged):
    tags = tags_of(*(replace(ENTRY, number=number) for number in (1, 2, 3)))
    for number in (2, 3):
        tags[f"nightshift.ledger.{number:06d}"] = damaged or ""
    if damaged is None:
        del tags["nightshift.ledger.000002"]
    found = read_ledger(tags)
    assert [entry.number for entry in found.entries] == [1]
    assert found.missing == (2, 3)
    assert found.next_number == 4


def test_an_empty_ledger_begins_with_entry_one():
    assert read_ledger({}).next_number == 1
    assert read_ledger({}).champion is None


def test_the_longest_entry_is_kept_whole_by_a_real_registry(bare_versions):
    bare_versions(1)
    move = Move("promoted", ("x" * 50_000,), who="me", p_value=0.5, level=0.05)
    append(client(), "translation", read_ledger({}), move, after=1)
    tags = client().get_registered_model("translation").tags
    assert read_ledger(tags).entries[0].why[0].startswith("xxx")


def test_who_is_at_work_is_a_user_on_a_machine_even_where_the_user_has_no_name(monkeypatch):
    user, at, host = person().partition("@")
    assert user
    assert at
    assert host

    def nobody():
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert person().endswith(f"@{host}")
