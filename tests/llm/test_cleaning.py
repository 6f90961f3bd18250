"""Cleaning: each step by itself, and the account of what became of every record."""

from __future__ import annotations

import hashlib
import itertools
import weakref
from collections.abc import Iterable, Iterator

import pytest
from pydantic import ValidationError

from llm.cleaning import CleaningConfig, CleaningCounts, clean
from llm.corpora.base import Record


def run(
    *rows: dict[str, str] | str, steps=None, **options
) -> tuple[list[dict[str, str]], dict[str, int], CleaningCounts]:
    """Kept fields, what was dropped, and all counts; a string stands for {"text": string}."""
    records = (Record("g", {"text": row} if isinstance(row, str) else row) for row in rows)
    counts = CleaningCounts()
    kept = [
        dict(record.fields) for record in clean(records, CleaningConfig(**options), steps=steps or {}, counts=counts)
    ]
    return kept, {name: count for name, count in counts.dropped.items() if count}, counts


def pair(source: str, target: str) -> dict[str, str]:
    return {"source": source, "target": target}


@pytest.mark.parametrize(
    ("before", "after", "repair"),
    [
        ("e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}", "unicode_nfc"),
        ("a\0b\x07\x7f\x85c", "abc", "control_characters"),
        ("a\r\nb", "a\nb", "control_characters"),
        ("\ufeffa\ud800", "a", "control_characters"),
        (" a \n", "a", "outer_space"),
    ],
)
def test_a_text_is_repaired_and_counted(before: str, after: str, repair: str) -> None:
    kept, dropped, counts = run(before)
    assert kept == [{"text": after}]
    assert dropped == {}
    assert counts.repaired[repair] == 1


def test_tabs_newlines_joiners_and_placeholders_are_left_alone() -> None:
    text = "a\tb\nc \N{MAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} {name}"
    kept, _, counts = run(text)
    assert kept == [{"text": text}]
    assert not any(counts.repaired.values())


def test_a_letter_parted_from_its_accent_by_a_control_character_is_composed() -> None:
    assert run("e\0\N{COMBINING ACUTE ACCENT}")[0] == [{"text": "\N{LATIN SMALL LETTER E WITH ACUTE}"}]


def test_a_record_with_a_blank_field_is_dropped() -> None:
    rows = ["", " \n", "\0", pair("a", " "), pair("", "b"), {"text": "a", "label": ""}]
    assert run(*rows)[:2] == ([], {"blank": 6})


def test_the_bounds_are_inclusive_and_hold_for_both_sides_of_a_pair() -> None:
    options = {"minimum_characters": 2, "maximum_characters": 3}
    kept, dropped, _ = run("a", "ab", "abc", "abcd", **options)
    assert kept == [{"text": "ab"}, {"text": "abc"}]
    assert dropped == {"too_short": 1, "too_long": 1}
    kept, dropped, _ = run(pair("ab", "c"), pair("ab", "cdef"), pair("ab", "cd"), **options)
    assert kept == [pair("ab", "cd")]
    assert dropped == {"too_short": 1, "too_long": 1}


def test_a_label_is_not_a_text_with_a_length() -> None:
    row = {"text": "long enough", "label": "x"}
    assert run(row, minimum_characters=5)[0] == [row]


def test_the_length_ratio_counts_ten_more_characters_on_each_side() -> None:
    # (20 + 10) / (5 + 10) = 2; one more character is too much.
    at, over = pair("a" * 5, "b" * 20), pair("c" * 21, "d" * 5)
    kept, dropped, _ = run(at, over, maximum_length_ratio=2.0)
    assert kept == [at]
    assert dropped == {"length_ratio": 1}
    assert run(at, over, maximum_length_ratio=None)[1] == {}


def test_pairs_that_repeat_the_source_are_dropped_unless_wanted() -> None:
    rows = [pair("Bluetooth", "Bluetooth"), pair("Light", "Licht")]
    assert run(*rows)[:2] == ([rows[1]], {"untranslated": 1})
    assert run(*rows, drop_untranslated=False)[0] == rows


def test_only_the_first_of_identical_records_stays_and_repairs_come_before() -> None:
    rows = ["a", "b", "a ", "a\0", {"text": "a", "label": "x"}, {"text": "a", "label": "y"}]
    kept, dropped, _ = run(*rows)
    assert kept == [{"text": "a"}, {"text": "b"}, {"text": "a", "label": "x"}, {"text": "a", "label": "y"}]
    assert dropped == {"duplicate": 2}


def test_the_same_characters_parted_otherwise_are_no_duplicate() -> None:
    rows = [pair("ab", "c"), pair("a", "bc")]
    assert run(*rows)[0] == rows


def test_a_source_adds_steps_of_its_own_that_come_last() -> None:
    kept, dropped, _ = run("", "a", "a", "b", "c", steps={"first_two": lambda records: itertools.islice(records, 2)})
    assert kept == [{"text": "a"}, {"text": "b"}]
    assert dropped["blank"] == 1
    assert dropped["duplicate"] == 1


def test_every_record_is_accounted_for() -> None:
    rows = ["", "a", "a", "bbbb", "cc ", pair("x", "x"), pair("x", "y" * 100)]
    kept, dropped, counts = run(
        *rows, minimum_characters=1, maximum_characters=200, steps={"none": lambda r: iter(list(r))}
    )
    assert counts.read == len(rows)
    assert counts.kept == len(kept)
    assert counts.read == counts.kept + sum(counts.dropped.values())
    assert dropped == {"blank": 1, "duplicate": 1, "untranslated": 1, "length_ratio": 1}
    assert counts.dropped["too_long"] == 0


class Fields(dict[str, str]):
    """Fields that a weak set can hold."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_at_most_so_many_records_are_drawn_by_the_hash_of_their_text_in_order_and_held() -> None:
    texts = [f"text {number}" for number in range(200)]
    smallest = set(sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest()[:16])[:30])
    alive = weakref.WeakSet()
    most = 0

    def watched(records: Iterable[Record]) -> Iterator[Record]:
        nonlocal most
        for record in records:
            fields = Fields(record.fields)
            alive.add(fields)
            most = max(most, len(alive))
            yield Record(record.group, fields)

    kept, dropped, _ = run(*texts, maximum_records=30, steps={"watched": watched})
    assert [row["text"] for row in kept] == [text for text in texts if text in smallest]
    assert dropped == {"over_maximum": 170}
    # And the few that the steps hand on.
    assert most < 40


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"maximum_characters \(3\) must not be below minimum_characters \(4\)"):
        CleaningConfig(minimum_characters=4, maximum_characters=3)
