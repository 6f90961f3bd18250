"""Cleaning: repairs and checks, each by itself, and the account of what became of every record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import pytest
from pydantic import ValidationError

from llm.cleaning.account import Account
from llm.cleaning.config import CleaningConfig
from llm.cleaning.pipeline import clean
from llm.corpora.base import Dropped, Record, Unreadable
from llm.errors import CorpusError


def run(
    *rows: dict[str, str] | str, steps=None, **options
) -> tuple[list[dict[str, str]], dict[str, int], Account, list[dict[str, Any]]]:
    """Kept fields, what was dropped, the account, and the quarantine; a string stands for {"text": string}."""
    fields = [{"text": row} if isinstance(row, str) else row for row in rows]
    records = (Record("g", row, "file", number) for number, row in enumerate(fields, start=1))
    quarantine: list[dict[str, Any]] = []
    account = Account(quarantine.append)
    kept = [
        dict(record.fields)
        for record in chain.from_iterable(clean(records, CleaningConfig(**options), steps=steps or {}, account=account))
    ]
    return kept, {name: count for name, count in account.dropped.items() if count}, account, quarantine


def pair(source: str, target: str) -> dict[str, str]:
    return {"source": source, "target": target}


@pytest.mark.parametrize(
    ("before", "after", "repair"),
    [
        ("e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}", "unicode_nfc"),
        ("a\0b\x07\x7f\x85c", "abc", "control_characters"),
        ("a\r\nb", "a\nb", "control_characters"),
        ("a\rb", "a\nb", "control_characters"),
        ("Gr\xc3\xbc\xc3\u0178e", "Grüße", "encoding"),
        ("\ufeffa\ud800", "a", "control_characters"),
        (" a \n", "a", "outer_space"),
    ],
)
def test_a_text_is_repaired_and_counted(before: str, after: str, repair: str) -> None:
    kept, dropped, account, _ = run(before)
    assert kept == [{"text": after}]
    assert dropped == {}
    assert account.repaired[repair] == 1


def test_tabs_newlines_joiners_and_placeholders_are_left_alone() -> None:
    text = "a\tb\nc \N{MAN}\N{ZERO WIDTH JOINER}\N{PERSONAL COMPUTER} {name}"
    kept, _, account, quarantine = run(text)
    assert kept == [{"text": text}]
    assert quarantine == []
    assert not any(account.repaired.values())


def test_a_letter_parted_from_its_accent_by_a_control_character_is_composed() -> None:
    assert run("e\0\N{COMBINING ACUTE ACCENT}")[0] == [{"text": "\N{LATIN SMALL LETTER E WITH ACUTE}"}]


def test_a_record_without_text_is_blank_and_one_that_lacks_a_part_is_bad() -> None:
    rows = ["", " \n", "\0", pair(" ", ""), pair("a", " "), pair("", "b"), {"text": "a", "label": ""}]
    kept, dropped, account, quarantine = run(*rows)
    assert kept == []
    assert dropped == {"blank": 4, "empty_side": 2, "missing_label": 1}
    assert account.bad == 3
    assert [row["reason"] for row in quarantine[4:]] == ["target is empty", "source is empty", "has no label"]


def test_labels_that_are_not_among_those_that_there_are_are_bad() -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "Y"}]
    assert run(*rows)[0] == rows
    kept, dropped, account, quarantine = run(*rows, labels=("x", "y"))
    assert (kept, dropped, account.bad) == (rows[:1], {"unknown_label": 1}, 1)
    assert quarantine[0]["reason"] == "the label 'Y' is none of cleaning.labels"


def test_a_side_more_than_nine_times_as_long_as_the_other_is_bad() -> None:
    at, over = pair("a" * 2, "b" * 18), pair("c" * 19, "d" * 2)
    kept, dropped, account, _ = run(at, over, maximum_length_ratio=None)
    assert (kept, dropped, account.bad) == ([at], {"misaligned": 1}, 1)


def test_a_dropped_record_is_quarantined_with_its_place_step_and_reason() -> None:
    _, _, _, quarantine = run("good", "x" * 2000, maximum_characters=100)
    assert quarantine == [
        {
            "source": "file",
            "position": 2,
            "offset": None,
            "step": "too_long",
            "reason": "2000 characters, more than 100",
            "record": {"text": "x" * 1000},
        }
    ]


def test_what_cannot_be_read_is_counted_by_its_defect_and_quarantined() -> None:
    quarantine: list[dict[str, Any]] = []
    account = Account(quarantine.append)
    items = [Record("g", {"text": "a"}), Unreadable("not_json", "no colon", "a.jsonl", 2, 17, '{"a"')]
    assert len(list(chain.from_iterable(clean(items, CleaningConfig(), steps={}, account=account)))) == 1
    assert (account.read, account.kept, account.bad, account.dropped["not_json"]) == (2, 1, 1, 1)
    assert quarantine == [
        {
            "source": "a.jsonl",
            "position": 2,
            "offset": 17,
            "step": "not_json",
            "reason": "no colon",
            "text": '{"a"',
        }
    ]


def test_a_source_that_is_mostly_bad_is_given_up_early() -> None:
    taken = 0

    def endless() -> Iterator[Unreadable]:
        nonlocal taken
        while True:
            taken += 1
            yield Unreadable("not_utf8", "byte 0", "a.txt", taken)

    with pytest.raises(CorpusError, match=r"1,000 of 1,000 records are bad, 100.0%.*not_utf8 1,000 \(first: a.txt, 1"):
        list(clean(endless(), CleaningConfig(), steps={}, account=Account(lambda row: None)))
    assert taken == 1000


def test_a_group_that_a_source_does_not_give_is_that_of_the_repaired_text() -> None:
    composed, parted = "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT} "
    records = [Record(None, {"text": text}) for text in (composed, parted, "other")]
    kept = list(chain.from_iterable(clean(records, CleaningConfig(), steps={}, account=Account(lambda row: None))))
    assert kept[0].group == kept[1].group != kept[2].group


def test_a_million_marks_on_one_letter_are_left_as_they_are_in_linear_time() -> None:
    text = "a" + "\N{COMBINING ACUTE ACCENT}\N{COMBINING DOT BELOW}" * 500_000
    assert run(text)[0] == [{"text": text}]


def test_many_marks_on_one_letter_are_kept() -> None:
    text = "q" + "\N{COMBINING ACUTE ACCENT}" * 10_000
    assert run(text)[0] == [{"text": text}]


def test_the_bounds_are_inclusive_and_hold_for_both_sides_of_a_pair() -> None:
    options = {"minimum_characters": 2, "maximum_characters": 3}
    kept, dropped, *_ = run("a", "ab", "abc", "abcd", **options)
    assert kept == [{"text": "ab"}, {"text": "abc"}]
    assert dropped == {"too_short": 1, "too_long": 1}
    kept, dropped, *_ = run(pair("ab", "c"), pair("ab", "cdef"), pair("ab", "cd"), **options)
    assert kept == [pair("ab", "cd")]
    assert dropped == {"too_short": 1, "too_long": 1}


def test_a_label_is_not_a_text_with_a_length() -> None:
    row = {"text": "long enough", "label": "x"}
    assert run(row, minimum_characters=5)[0] == [row]


def test_the_length_ratio_counts_ten_more_characters_on_each_side() -> None:
    # (20 + 10) / (5 + 10) = 2; one more character is too much.
    at, over = pair("a" * 5, "b" * 20), pair("c" * 21, "d" * 5)
    kept, dropped, *_ = run(at, over, maximum_length_ratio=2.0)
    assert kept == [at]
    assert dropped == {"length_ratio": 1}
    assert run(at, over, maximum_length_ratio=None)[1] == {}


def test_pairs_that_repeat_the_source_are_dropped_unless_wanted() -> None:
    rows = [pair("Bluetooth", "Bluetooth"), pair("Light", "Licht")]
    assert run(*rows)[:2] == ([rows[1]], {"untranslated": 1})
    assert run(*rows, drop_untranslated=False)[0] == rows


def test_a_source_adds_steps_of_its_own_that_come_last() -> None:
    def all_but_first(records: Iterable[Record]) -> Iterator[Record | Dropped]:
        for number, record in enumerate(records):
            yield record if number else Dropped(record, "the first")

    kept, dropped, _, quarantine = run("", "a", "b", "c", steps={"first": all_but_first})
    assert kept == [{"text": "b"}, {"text": "c"}]
    assert dropped == {"blank": 1, "first": 1}
    assert [(row["position"], row["step"], row["reason"]) for row in quarantine] == [
        (1, "blank", "holds no text"),
        (2, "first", "the first"),
    ]


def test_a_step_that_loses_a_record_is_found_out() -> None:
    with pytest.raises(AssertionError, match="the step greedy took 2 records and gave back 1"):
        run("a", "b", steps={"greedy": lambda records: iter(list(records)[:1])})


def test_every_record_is_accounted_for() -> None:
    rows = ["", "a", "bbbb", "cc ", pair("x", "x"), pair("x", "y" * 100), pair("x", "y" * 9), pair("x" * 9, "y" * 60)]
    kept, dropped, account, quarantine = run(*rows, steps={"none": lambda r: iter(list(r))})
    assert account.read == len(rows)
    assert account.kept == len(kept)
    assert account.read == account.kept + sum(account.dropped.values())
    assert len(quarantine) == sum(account.dropped.values())
    assert dropped == {"blank": 1, "untranslated": 1, "misaligned": 1, "length_ratio": 1}
    assert account.dropped["too_long"] == 0


def test_what_is_to_be_redacted_is_counted_as_a_repair() -> None:
    rows = ["write to ann@example.org", "or call +49 30 901820", "plain"]
    assert run(*rows)[0] == [{"text": text} for text in rows]
    kept, _, account, _ = run(*rows, redact=("email", "telephone"))
    assert kept == [{"text": "write to <EMAIL>"}, {"text": "or call <TELEPHONE>"}, {"text": "plain"}]
    assert (account.repaired["redact_email"], account.repaired["redact_telephone"]) == (1, 1)


def test_texts_in_other_languages_are_dropped_and_short_ones_are_not_judged() -> None:
    english, german = "This is a sentence about the weather.", "Das ist ein Satz über das Wetter von heute."
    kept, dropped, account, quarantine = run(english, german, "Guten Tag", languages={"text": ("en",)})
    assert kept == [{"text": english}, {"text": "Guten Tag"}]
    assert (dropped, account.bad) == ({"language": 1}, 0)
    assert quarantine[0]["reason"].startswith("text seems to be de (probability")
    rows = [pair(english, german), pair(german, english)]
    assert run(*rows, languages={"source": ("en",), "target": ("de",)})[0] == rows[:1]


def test_a_text_that_fails_a_check_of_quality_is_dropped_by_its_name() -> None:
    kept, dropped, _, quarantine = run("function() { return 1; }", "Prose.", quality=("curly_bracket",))
    assert kept == [{"text": "Prose."}]
    assert dropped == {"quality_curly_bracket": 1}
    assert quarantine[0]["reason"]


@pytest.mark.parametrize("options", [{"redact": ("emails",)}, {"quality": ("good",)}])
def test_a_name_that_does_not_exist_is_refused_with_the_choice(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"there is no .*; choose from"):
        CleaningConfig(**options)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"maximum_characters \(3\) must not be below minimum_characters \(4\)"):
        CleaningConfig(minimum_characters=4, maximum_characters=3)
