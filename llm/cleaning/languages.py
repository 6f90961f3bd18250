"""Which language a text is written in."""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING

from llm.errors import ConfigError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# ISO 639-2: undetermined.
UNDETERMINED = "und"


def language_of(text: str, *, languages: tuple[str, ...] = ()) -> tuple[str, float]:
    """The most likely language of `text` and its probability; ("und", 0.0) when the text holds no letter.

    One of `languages`, if any are given; the probabilities are then those among them. Codes are those of ISO 639-1;
    languages without one have that of ISO 639-3, and what is no language, such as identifiers, has "zxx" (ISO 639-2).
    The model is naive Bayes over n-grams of bytes (Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language
    Identification Tool"), as py3langid has trained it; a text of a few words is often taken for a related language.

    Raises ConfigError for a language that the model does not know.
    """
    if not any(map(str.isalpha, text)):
        return UNDETERMINED, 0.0
    language, probability = _identifier(languages).classify(text)
    return str(language), float(probability)


@cache
def _identifier(languages: tuple[str, ...]) -> LanguageIdentifier:
    """The model, read once in a process (about a second, 90 MB); what is narrower shares its tables."""
    if not languages:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # here: few recipes need it

        # NumPy arrays, read with allow_pickle=False.
        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier = copy.copy(_identifier(()))
    unknown = sorted(set(languages) - set(identifier.labels))
    if unknown:
        raise ConfigError(
            f"languages: {', '.join(unknown)} is none of the languages that py3langid can tell from others",
            remedy=f"leave it out, or choose from {', '.join(sorted(identifier.labels))}",
        )
    identifier.set_languages(languages)
    return identifier
