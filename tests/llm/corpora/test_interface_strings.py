"""Pairs joined by component and key path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm.cleaning.config import CleaningConfig
from llm.corpora.base import Dropped, Record
from llm.corpora.interface_strings import InterfaceStrings, InterfaceStringsConfig
from llm.errors import CorpusError
from llm.ingest.corpus import corpus_stage
from llm.splits import SplitConfig


def wheel_files(strings: dict[str, dict[str, object]]) -> dict[str, str]:
    return {
        f"homeassistant/components/{component}/translations/{language}.json": json.dumps(content)
        for component, languages in strings.items()
        for language, content in languages.items()
    }


def read(make_wheel, downloads: Path, strings: dict[str, dict[str, object]]) -> list[Record]:
    config = InterfaceStringsConfig(archive=make_wheel("homeassistant", wheel_files(strings)))
    return list(InterfaceStrings().records(config, downloads=downloads))


def test_strings_are_joined_by_component_and_key_path(make_wheel, downloads: Path) -> None:
    strings = {
        "zone": {"en": {"title": "Zone {name}"}, "de": {"title": "Bereich {name}"}},
        "abode": {
            "en": {"config": {"step": {"user": {"title": "Sign in"}}, "error": "Failed"}, "title": "Abode"},
            "de": {"config": {"step": {"user": {"title": "Anmelden"}}}, "only_german": "Nur hier"},
        },
        "english_only": {"en": {"title": "Nobody translated this"}},
    }
    assert read(make_wheel, downloads, strings) == [
        Record("abode", {"source": "Sign in", "target": "Anmelden"}),
        Record("zone", {"source": "Zone {name}", "target": "Bereich {name}"}),
    ]


def test_the_same_key_in_another_component_is_not_joined(make_wheel, downloads: Path) -> None:
    strings = {"a": {"en": {"title": "On"}}, "b": {"de": {"title": "An"}}}
    assert read(make_wheel, downloads, strings) == []


def test_leaves_that_are_not_text_are_passed_over(make_wheel, downloads: Path) -> None:
    strings = {"a": {"en": {"n": 1, "list": ["x"], "t": "On"}, "de": {"n": 1, "list": ["x"], "t": "An"}}}
    assert read(make_wheel, downloads, strings) == [Record("a", {"source": "On", "target": "An"})]


def test_a_pair_with_a_reference_to_another_string_is_dropped() -> None:
    pairs = [
        Record("a", {"source": "Open", "target": "[%key:common::action::open%]"}),
        Record("a", {"source": "Close", "target": "Schließen"}),
    ]
    (step,) = InterfaceStrings().steps(InterfaceStringsConfig()).values()
    assert list(step(pairs)) == [Dropped(pairs[0], "holds [%key"), pairs[1]]


def test_a_language_that_the_wheel_lacks_is_named_with_the_choice(make_wheel, downloads: Path) -> None:
    archive = make_wheel("homeassistant", wheel_files({"a": {"en": {}, "de": {}, "fr": {}}}))
    config = InterfaceStringsConfig(target_language="xx", archive=archive)
    with pytest.raises(CorpusError, match="no strings in 'xx'") as caught:
        list(InterfaceStrings().records(config, downloads=downloads))
    assert caught.value.remedy == "choose from de, en, fr"


def test_english_to_english_is_refused() -> None:
    with pytest.raises(ValidationError, match="English already"):
        InterfaceStringsConfig(target_language="en")


def test_bad_json_in_the_wheel_is_located(make_wheel, downloads: Path) -> None:
    files = wheel_files({"a": {"en": {"t": "On"}}}) | {"homeassistant/components/a/translations/de.json": "{\n  oops"}
    config = InterfaceStringsConfig(archive=make_wheel("homeassistant", files))
    with pytest.raises(CorpusError, match=r"a/translations/de\.json: not JSON .*line 2"):
        list(InterfaceStrings().records(config, downloads=downloads))


@pytest.mark.slow
def test_the_default_wheel_gives_tens_of_thousands_of_pairs_with_placeholders(tmp_path: Path) -> None:
    stage = corpus_stage(
        InterfaceStringsConfig(),
        CleaningConfig(),
        SplitConfig(),
        fields=("source", "target"),
        root=tmp_path / "stages",
        downloads=tmp_path / "downloads",
    )
    assert stage.facts["kept"] > 35_000
    for split in ("validation", "test"):
        assert 0.05 < stage.facts["splits"][split]["rows"] / stage.facts["kept"] < 0.08
    text = (stage.path / "train.jsonl").read_text(encoding="utf-8")
    assert text.count("{") - text.count("\n") > 3_000
    assert "[%key:" not in text
