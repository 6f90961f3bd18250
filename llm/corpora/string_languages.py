"""Texts for language identification: Home Assistant's interface strings, each labelled with its language."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from llm.corpora.base import LABEL, Checksum, Dropped, Pieces, Record, SourceConfig, Step, each, short_hash
from llm.corpora.home_assistant import HOME_ASSISTANT, TERMS, component_strings, unresolved_reference
from llm.corpora.package_archive import PackageArchive
from llm.placeholders import PLACEHOLDER

# European languages in Latin script that have thousands of strings; the script alone would give the others away.
_LANGUAGES = "cs da de en es et fi fr hu it lt nb nl pl pt ro sk sl sv tr"
_FEWEST_LETTERS = 2


class StringLanguagesConfig(SourceConfig):
    """Interface strings: which language is it? Split by component."""

    source: Literal["string_languages"] = "string_languages"
    languages: tuple[str, ...] = Field(
        tuple(_LANGUAGES.split()), min_length=2, description="Home Assistant's codes of the languages to tell apart"
    )
    per_language: int = Field(0, ge=0, description="most strings a language, drawn by a hash of the text; 0 keeps all")
    archive: PackageArchive = HOME_ASSISTANT

    @field_validator("languages")
    @classmethod
    def _are_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("a language is named twice")
        return value


class StringLanguages:
    """One record a string; label: its language."""

    config: ClassVar[type[SourceConfig]] = StringLanguagesConfig
    part: ClassVar[type[SourceConfig]] = StringLanguagesConfig
    version: ClassVar[int] = 1
    shipped: ClassVar[bool] = True

    def fields(self, config: StringLanguagesConfig) -> tuple[str, ...]:  # noqa: ARG002
        """A text and its label."""
        return ("text", LABEL)

    def origin(self, config: StringLanguagesConfig) -> dict[str, Any]:
        """The wheel; Apache-2.0."""
        return config.archive.origin(TERMS)

    def parts(self, config: StringLanguagesConfig, *, pieces: Pieces) -> dict[str, SourceConfig]:  # noqa: ARG002
        """The wheel as a whole."""
        return {config.archive.requirement: config}

    def size(self, config: StringLanguagesConfig) -> int:  # noqa: ARG002
        """Not known before the wheel is here."""
        return 0

    def content(self, config: StringLanguagesConfig, *, checksum: Checksum) -> dict[str, str]:  # noqa: ARG002
        """The wheel's pinned checksum."""
        return config.archive.content

    def records(self, config: StringLanguagesConfig, *, downloads: Path) -> Iterator[Record]:
        """Strings, component by component; group: the component."""
        for component, strings in component_strings(config.archive, config.languages, downloads=downloads):
            for language, texts in strings.items():
                for keys, text in texts.items():
                    origin = f"{component}: {language}: {'.'.join(keys)}"
                    yield Record(group=component, fields={"text": text, LABEL: language}, origin=origin)

    def steps(self, config: StringLanguagesConfig) -> Mapping[str, Step]:
        """What makes a string unfit as evidence of its language, and the cap, which must come last."""
        return {
            "unresolved_reference": each(unresolved_reference),
            "few_letters": each(_few_letters),
            "several_languages": _of_one_language,
            "over_per_language": partial(_capped, per_language=config.per_language),
        }


def _few_letters(record: Record) -> str | None:
    outside = PLACEHOLDER.sub("", record.fields["text"])
    letters = len(list(islice(filter(str.isalpha, outside), _FEWEST_LETTERS)))
    return f"{letters} letters, fewer than {_FEWEST_LETTERS}" if letters < _FEWEST_LETTERS else None


def _of_one_language(records: Iterable[Record]) -> Iterator[Record | Dropped]:
    # A name such as "Bluetooth" stands in many languages, so no answer would be right.
    kept = list(records)
    languages: dict[str, set[str]] = defaultdict(set)
    for record in kept:
        languages[record.fields["text"]].add(record.fields[LABEL])
    for record in kept:
        found = languages[record.fields["text"]]
        yield record if len(found) == 1 else Dropped(record, f"the same in {', '.join(sorted(found))}")


def _capped(records: Iterable[Record], *, per_language: int) -> Iterator[Record | Dropped]:
    if per_language == 0:
        yield from records
        return
    kept = list(records)
    order: dict[str, set[str]] = defaultdict(set)
    for record in kept:
        order[record.fields[LABEL]].add(short_hash(record.fields["text"]))
    drawn = {language: set(heapq.nsmallest(per_language, hashes)) for language, hashes in order.items()}
    for record in kept:
        taken = short_hash(record.fields["text"]) in drawn[record.fields[LABEL]]
        yield record if taken else Dropped(record, f"not among the {per_language} that were drawn")
