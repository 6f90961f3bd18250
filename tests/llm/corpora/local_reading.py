"""Reading files in tests, in one line."""

from __future__ import annotations

from pathlib import Path

from llm.corpora.base import Record, Unreadable
from llm.corpora.local_files import LocalFiles, LocalFilesConfig

TOPICS = {"text": "body", "label": "topic"}


def read_all(**options) -> list[Record | Unreadable]:
    return list(LocalFiles().records(LocalFilesConfig(**options), downloads=Path("unused")))


def read(**options) -> list[Record]:
    """All records, where everything is one."""
    items = read_all(**options)
    assert not any(isinstance(item, Unreadable) for item in items), items
    return items


def defects(**options) -> list[tuple[str, int, int | None]]:
    """Defect, position and offset of all that is no record."""
    items = read_all(**options)
    return [(item.defect, item.position, item.offset) for item in items if isinstance(item, Unreadable)]


def fields_of(records: list[Record]) -> list[dict[str, str]]:
    return [dict(record.fields) for record in records]
