"""Rows of a real database, and what is said, and not said, when it cannot be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from llm.corpora.base import Record, Unreadable
from llm.corpora.sql_query import SqlQuery, SqlQueryConfig
from llm.errors import ConfigError, CorpusError
from llm.files import sha256_of

QUERY = "SELECT body, topic FROM tickets ORDER BY id"
COLUMNS = {"text": "body", "label": "topic"}


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tickets.sqlite"
    execute(path, "CREATE TABLE tickets (id INTEGER, body TEXT, topic TEXT, changed INTEGER)")
    execute(path, "INSERT INTO tickets VALUES (2, 'Second', 'b', 10), (1, 'First', 'a', 10), (3, NULL, 'a', 10)")
    monkeypatch.setenv("NIGHTSHIFT_SQL_URL", f"sqlite:///{path}")
    return path


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def config(**options: object) -> SqlQueryConfig:
    return SqlQueryConfig(**{"query": QUERY, "columns": COLUMNS, **options})


def read(chosen: SqlQueryConfig) -> list[Record | Unreadable]:
    return list(SqlQuery().records(chosen, downloads=Path("unused")))


def test_rows_become_records_in_the_order_of_the_query(database: Path) -> None:
    records = read(config())
    assert records == [
        Record(None, {"text": text, "label": label}) for text, label in [("First", "a"), ("Second", "b"), ("", "a")]
    ]
    assert [(record.origin, record.position) for record in records] == [("$NIGHTSHIFT_SQL_URL", n) for n in (1, 2, 3)]


def test_a_value_that_is_no_text_is_unreadable(database: Path) -> None:
    execute(database, "INSERT INTO tickets VALUES (4, x'00ff', 'a', 11)")
    (found,) = (item for item in read(config()) if isinstance(item, Unreadable))
    assert (found.defect, found.position) == ("not_text", 4)


def test_the_content_changes_with_the_rows(database: Path) -> None:
    before = SqlQuery().content(config(), checksum=sha256_of)
    assert SqlQuery().content(config(), checksum=sha256_of) == before
    execute(database, "UPDATE tickets SET body = 'Other' WHERE id = 2")
    assert SqlQuery().content(config(), checksum=sha256_of) != before


def test_a_version_query_tells_of_changes_without_reading_the_rows(database: Path) -> None:
    chosen = config(version_query="SELECT max(changed) FROM tickets")
    before = SqlQuery().content(chosen, checksum=sha256_of)
    execute(database, "UPDATE tickets SET body = 'Other' WHERE id = 2")
    assert SqlQuery().content(chosen, checksum=sha256_of) == before
    execute(database, "UPDATE tickets SET changed = 12 WHERE id = 2")
    assert SqlQuery().content(chosen, checksum=sha256_of) != before


def test_a_query_changes_nothing(database: Path) -> None:
    # SQLite gives back rows of a statement that writes, too.
    writing = config(query="DELETE FROM tickets RETURNING body, topic -- ORDER BY none")
    assert len(read(writing)) == 3
    assert len(read(config())) == 3


def test_a_query_without_an_order_is_refused() -> None:
    with pytest.raises(ValidationError, match="has no ORDER BY"):
        config(query="SELECT body FROM tickets")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"query": "SELECT body FROM missing ORDER BY 1"}, "the query of corpus.query failed: no such table: missing"),
        ({"columns": {"text": "title"}}, "there is no column 'title'"),
    ],
)
def test_what_is_wrong_with_a_query_is_told(database: Path, options: dict, problem: str) -> None:
    with pytest.raises(CorpusError, match=problem):
        read(config(**options))


def test_a_missing_address_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NIGHTSHIFT_SQL_URL", raising=False)
    with pytest.raises(ConfigError, match="NIGHTSHIFT_SQL_URL is not set"):
        read(config())


@pytest.mark.parametrize(
    "url", ["sqlite:////no/such/folder/x?password=hunter2", "hunter2", "nosuch://user:hunter2@localhost/x"]
)
def test_a_password_is_never_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_SQL_URL", url)
    with pytest.raises(CorpusError) as caught:
        read(config())
    assert "hunter2" not in f"{caught.value} {caught.value.remedy} {SqlQuery().origin(config())}"
