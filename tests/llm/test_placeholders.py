"""Placeholders are numbered on the way in and get their names back on the way out."""

from __future__ import annotations

import pytest

from llm.placeholders import named, names_in, numbered


def test_names_are_listed_once_in_order_of_appearance() -> None:
    assert names_in("{b} and {a.x}, then {b}; {} not d") == ["{b}", "{a.x}", "{}"]
    assert names_in("no braces { here") == []


def test_words_in_braces_are_left_for_the_translator_to_read() -> None:
    text = "{count, plural, one {# item} other {# items}} for {name}, press {the red button}"
    assert names_in(text) == ["{name}"]
    assert numbered(text, names_in(text)) == text.replace("{name}", "{0}")


def test_a_text_is_numbered_by_the_list_and_what_the_list_lacks_stays() -> None:
    assert numbered("{name} of {room}: {name}", ["{room}", "{name}"]) == "{1} of {0}: {1}"
    assert numbered("{name} and {other}", ["{name}"]) == "{0} and {other}"


@pytest.mark.parametrize(
    "text",
    [
        "{entity_name} is {state}",
        "{1} before {0}",  # numbers that are names themselves
        "{{nested}} {a}{a}",
        "{}",
        " ".join(f"{{n{i}}}" for i in range(12)),
        "no placeholder",
    ],
)
def test_numbering_a_text_by_its_own_names_can_be_undone(text: str) -> None:
    names = names_in(text)
    assert named(numbered(text, names), names) == text


def test_numbers_that_stand_for_nothing_are_left_alone() -> None:
    assert named("{0} {7} {" + "9" * 5000 + "} {x}", ["{name}"]) == "{name} {7} {" + "9" * 5000 + "} {x}"
