"""Labelled strings, without those that are evidence of no language or of two."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm.cleaning.account import Account
from llm.cleaning.config import CleaningConfig
from llm.cleaning.pipeline import clean
from llm.corpora.base import Record
from llm.corpora.string_languages import StringLanguages, StringLanguagesConfig


def cleaned(make_wheel, downloads: Path, strings: dict[str, list[str]], **options) -> tuple[list[Record], dict]:
    """The records of one component that holds `strings` by language, and what was dropped."""
    files = {
        f"homeassistant/components/part/translations/{language}.json": json.dumps(dict(enumerate(texts)))
        for language, texts in strings.items()
    }
    archive = make_wheel("homeassistant", files)
    config = StringLanguagesConfig(archive=archive, languages=tuple(strings), **options)
    corpus = StringLanguages()
    account = Account(lambda row: None)
    records = corpus.records(config, downloads=downloads)
    kept = list(chain.from_iterable(clean(records, CleaningConfig(), steps=corpus.steps(config), account=account)))
    return kept, {name: count for name, count in account.dropped.items() if count}


def test_a_record_is_a_string_labelled_with_its_language(make_wheel, downloads: Path) -> None:
    kept, _ = cleaned(make_wheel, downloads, {"de": ["Licht"], "en": ["Light"]})
    assert kept == [
        Record("part", {"text": "Licht", "label": "de"}),
        Record("part", {"text": "Light", "label": "en"}),
    ]


def test_a_string_seen_in_two_languages_is_dropped_from_both(make_wheel, downloads: Path) -> None:
    kept, dropped = cleaned(make_wheel, downloads, {"de": ["Name", "Licht"], "en": ["Light", "Name", "Name"]})
    assert [record.fields["text"] for record in kept] == ["Licht", "Light"]
    assert dropped == {"several_languages": 3}


def test_strings_without_two_letters_outside_placeholders_are_dropped(make_wheel, downloads: Path) -> None:
    texts = ["{name}", "{a} / {b}", "100 %", "A", "{name} an", "Zu"]
    kept, dropped = cleaned(make_wheel, downloads, {"de": texts, "en": ["Light"]})
    assert [record.fields["text"] for record in kept] == ["{name} an", "Zu", "Light"]
    assert dropped == {"few_letters": 4}


def test_references_to_other_strings_are_dropped(make_wheel, downloads: Path) -> None:
    strings = {"de": ["[%key:common::action::open%]", "[%key_id:564326708%] {index}", "Öffnen [%]"], "en": ["Open"]}
    kept, dropped = cleaned(make_wheel, downloads, strings)
    assert [record.fields["text"] for record in kept] == ["Öffnen [%]", "Open"]
    assert dropped == {"unresolved_reference": 2}


def test_the_cap_keeps_so_many_a_language_after_the_other_steps(make_wheel, downloads: Path) -> None:
    german = [f"Lampe {i}" for i in range(30)] + ["Name"]
    english = [f"Light {i}" for i in range(7)] + ["Name"]
    kept, dropped = cleaned(make_wheel, downloads, {"de": german, "en": english}, per_language=10)
    assert Counter(record.fields["label"] for record in kept) == {"de": 10, "en": 7}
    assert dropped == {"several_languages": 2, "over_per_language": 20}


def test_the_cap_draws_the_same_strings_whatever_else_is_there(make_wheel, downloads: Path) -> None:
    german = [f"Lampe {i}" for i in range(30)]
    first, _ = cleaned(make_wheel, downloads, {"de": german, "en": ["Light"]}, per_language=10)
    second, _ = cleaned(make_wheel, downloads, {"de": german[::-1], "fr": ["Feu"]}, per_language=10)
    drawn = [{r.fields["text"] for r in records if r.fields["label"] == "de"} for records in (first, second)]
    assert drawn[0] == drawn[1]
    # Drawn by hash, not simply the first or the last.
    assert drawn[0] not in ({*german[:10]}, {*german[-10:]})


def test_one_language_is_nothing_to_tell_apart() -> None:
    with pytest.raises(ValidationError, match="at least 2"):
        StringLanguagesConfig(languages=("de",))


def test_a_language_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="named twice"):
        StringLanguagesConfig(languages=("de", "en", "de"))
