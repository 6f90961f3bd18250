"""Languages: told apart, restricted to some, and undetermined where there is nothing to tell by."""

from __future__ import annotations

import pytest

from llm.cleaning.languages import language_of
from llm.errors import ConfigError

SENTENCES = {
    "da": "Sluk lyset i stuen, når ingen er hjemme.",
    "de": "Schalte das Licht im Wohnzimmer aus, wenn niemand zu Hause ist.",
    "en": "Turn off the lights in the living room when nobody is at home.",
    "es": "Apagar las luces del salón cuando no haya nadie en casa.",
    "fi": "Sammuta olohuoneen valot, kun kukaan ei ole kotona.",
    "fr": "Éteindre la lumière du salon quand il n'y a personne à la maison.",
    "it": "Spegni le luci del soggiorno quando non c'è nessuno in casa.",
    "ja": "家に誰もいないときはリビングの照明を消してください。",
    "nl": "Doe het licht in de woonkamer uit als er niemand thuis is.",
    "pl": "Wyłącz światła w salonie, gdy nikogo nie ma w domu.",
    "ru": "Выключите свет в гостиной, когда никого нет дома.",
    "zh": "家里没人时关掉客厅的灯。",
}


@pytest.mark.parametrize(("language", "sentence"), SENTENCES.items())
def test_a_sentence_is_known_by_its_language(language: str, sentence: str) -> None:
    found, probability = language_of(sentence)
    assert found == language
    assert 0.0 < probability <= 1.0


@pytest.mark.parametrize("text", ["", " \n", "12:30", "+++ (100 %) …", "😀"])
def test_a_text_without_letters_is_undetermined(text: str) -> None:
    assert language_of(text) == ("und", 0.0)
    assert language_of(text, languages=("de", "en")) == ("und", 0.0)


def test_only_the_given_languages_are_found() -> None:
    assert language_of(SENTENCES["nl"], languages=("de", "fr"))[0] == "de"
    assert language_of(SENTENCES["nl"], languages=("nl", "fr"))[0] == "nl"


def test_fewer_languages_are_told_apart_with_more_certainty() -> None:
    assert language_of("Guten Tag", languages=("de", "en"))[1] > language_of("Guten Tag")[1]


def test_a_restriction_does_not_outlive_its_call() -> None:
    before = language_of(SENTENCES["ru"])
    language_of(SENTENCES["ru"], languages=("de", "en"))
    assert language_of(SENTENCES["ru"]) == before


def test_a_language_that_the_model_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="languages: tlh is none of"):
        language_of(SENTENCES["de"], languages=("de", "tlh"))
