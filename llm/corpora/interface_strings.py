"""Sentence pairs for translation: Home Assistant's interface strings, English and another language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from llm.corpora.base import Checksum, Pieces, Record, SourceConfig, Step, each
from llm.corpora.home_assistant import HOME_ASSISTANT, TERMS, component_strings, unresolved_reference
from llm.corpora.package_archive import PackageArchive

_ENGLISH = "en"


class InterfaceStringsConfig(SourceConfig):
    """Interface strings: English to another language; split by component."""

    source: Literal["interface_strings"] = "interface_strings"
    target_language: str = Field("de", description="Home Assistant's code of the language to translate into")
    archive: PackageArchive = HOME_ASSISTANT

    @field_validator("target_language")
    @classmethod
    def _is_not_english(cls, value: str) -> str:
        if value == _ENGLISH:
            raise ValueError("the source is English already; choose another language")
        return value


class InterfaceStrings:
    """One record a string that both languages have, joined by component and key path."""

    config: ClassVar[type[SourceConfig]] = InterfaceStringsConfig
    part: ClassVar[type[SourceConfig]] = InterfaceStringsConfig
    version: ClassVar[int] = 1
    shipped: ClassVar[bool] = True

    def fields(self, config: InterfaceStringsConfig) -> tuple[str, ...]:  # noqa: ARG002
        """English and its translation."""
        return ("source", "target")

    def origin(self, config: InterfaceStringsConfig) -> dict[str, Any]:
        """The wheel; Apache-2.0."""
        return config.archive.origin(TERMS)

    def parts(self, config: InterfaceStringsConfig, *, pieces: Pieces) -> dict[str, SourceConfig]:  # noqa: ARG002
        """The wheel as a whole."""
        return {config.archive.requirement: config}

    def size(self, config: InterfaceStringsConfig) -> int:  # noqa: ARG002
        """Not known before the wheel is here."""
        return 0

    def content(self, config: InterfaceStringsConfig, *, checksum: Checksum) -> dict[str, str]:  # noqa: ARG002
        """The wheel's pinned checksum."""
        return config.archive.content

    def records(self, config: InterfaceStringsConfig, *, downloads: Path) -> Iterator[Record]:
        """Pairs, component by component; group: the component."""
        languages = (_ENGLISH, config.target_language)
        for component, strings in component_strings(config.archive, languages, downloads=downloads):
            targets = strings.get(config.target_language, {})
            for keys, source in strings.get(_ENGLISH, {}).items():
                if keys in targets:
                    yield Record(
                        group=component,
                        fields={"source": source, "target": targets[keys]},
                        origin=f"{component}: {'.'.join(keys)}",
                    )

    def steps(self, config: InterfaceStringsConfig) -> Mapping[str, Step]:  # noqa: ARG002
        """Strings that are only a reference to another string are no translation."""
        return {"unresolved_reference": each(unresolved_reference)}
