"""Rows of a database: what a query gives, through SQLAlchemy."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from llm.corpora.base import Checksum, Pieces, Record, SourceConfig, Step, Unreadable, sha256_of_text
from llm.corpora.formats.base import ColumnOptions
from llm.corpora.formats.rows import check_columns, row_item
from llm.errors import ConfigError, CorpusError

_ROWS = 10_000
ORDERED = re.compile(r"\border\s+by\b", re.IGNORECASE)


class SqlQueryConfig(ColumnOptions, SourceConfig):
    """One query. The address of the database is a secret, and stays in the environment."""

    model_config = ConfigDict(title="SQL query")

    source: Literal["sql_query"] = "sql_query"
    url_variable: str = Field(
        "NIGHTSHIFT_SQL_URL",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds the SQLAlchemy URL, such as postgresql://reader@host/database",
    )
    query: str = Field(min_length=1, description="what is read; with ORDER BY, so that the order never changes")
    version_query: str | None = Field(
        None,
        description="its one value changes whenever the rows do, such as SELECT max(changed) FROM tickets; "
        "none: all rows are read to see whether they changed",
    )
    terms: str = Field("not stated", description="the licence or terms of the data, for the manifest")

    @field_validator("query")
    @classmethod
    def _is_ordered(cls, value: str) -> str:
        if not ORDERED.search(value):
            raise ValueError("has no ORDER BY: rows that come in another order every night make another corpus")
        return value

    @model_validator(mode="after")
    def _names_columns(self) -> SqlQueryConfig:
        if not self.columns:
            raise ValueError("columns is missing: {text: <column>}")
        return self


class SqlQuery:
    """One record a row, in the order of the query."""

    config: ClassVar[type[SourceConfig]] = SqlQueryConfig
    part: ClassVar[type[SourceConfig]] = SqlQueryConfig
    version: ClassVar[int] = 1
    shipped: ClassVar[bool] = False

    def fields(self, config: SqlQueryConfig) -> tuple[str, ...]:
        """What `columns` maps."""
        return tuple(config.columns)

    def origin(self, config: SqlQueryConfig) -> dict[str, Any]:
        """The query, and the terms as stated; not the database, whose URL may hold a password."""
        return {"query": config.query, "database": f"${config.url_variable}", "terms": config.terms}

    def parts(self, config: SqlQueryConfig, *, pieces: Pieces) -> dict[str, SourceConfig]:  # noqa: ARG002
        """The result as a whole."""
        return {config.query: config}

    def size(self, config: SqlQueryConfig) -> int:  # noqa: ARG002
        """Not known before it is read."""
        return 0

    def content(self, config: SqlQueryConfig, *, checksum: Checksum) -> dict[str, str]:  # noqa: ARG002
        """SHA-256 of what `version_query` gives, or of all rows."""
        if config.version_query is not None:
            with _result(config, config.version_query) as result:
                return {config.query: sha256_of_text(repr([tuple(row) for row in result]))}
        digest = hashlib.sha256()
        with _result(config, config.query) as result:
            for row in result:
                digest.update(f"{tuple(row)!r}\n".encode("utf-8", "surrogatepass"))
        return {config.query: digest.hexdigest()}

    def records(self, config: SqlQueryConfig, *, downloads: Path) -> Iterator[Record | Unreadable]:  # noqa: ARG002
        """Rows."""
        origin = f"${config.url_variable}"
        with _result(config, config.query) as result:
            check_columns(list(result.keys()), config, origin=origin)
            for position, row in enumerate(result.mappings(), start=1):
                yield row_item(row, config, origin=origin, position=position)

    def steps(self, config: SqlQueryConfig) -> Mapping[str, Step]:  # noqa: ARG002
        """None of its own."""
        return {}


def _result(config: SqlQueryConfig, query: str) -> AbstractContextManager[Any]:
    return query_result(config.url_variable, query, options=("corpus.query", "corpus.url_variable"))


@contextmanager
def query_result(url_variable: str, query: str, *, options: tuple[str, str]) -> Iterator[Any]:
    """The rows of a query, read in batches; whatever it did is rolled back.

    `options` are the names of those that hold the query and the variable.

    Raises ConfigError when the variable is not set, CorpusError when the database refuses.
    """
    from sqlalchemy import text  # here: it takes a quarter of a second to import

    doing = f"the query of {options[0]}"
    with database(url_variable, doing=doing, option=options[1]) as engine, engine.connect() as connection:
        yield connection.execution_options(yield_per=_ROWS).execute(text(query))
        connection.rollback()


@contextmanager
def database(url_variable: str, *, doing: str, option: str) -> Iterator[Any]:
    """An engine for the SQLAlchemy URL in an environment variable, whose failures become one clear CorpusError.

    `option` is the name of the one that names the variable.

    Raises ConfigError when the variable is not set.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    url = os.environ.get(url_variable)
    if not url:
        raise ConfigError(
            f"the environment variable {url_variable} is not set",
            remedy=f"set it to the SQLAlchemy URL of the database, or name another in {option}",
        )
    try:
        engine = create_engine(url)
        try:
            yield engine
        finally:
            engine.dispose()
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        # Not the whole message: that of a URL which cannot be read repeats it, password and all.
        told = str(getattr(error, "orig", None) or type(error).__name__)
        raise CorpusError(f"{doing} failed: {told[:300]}", remedy=f"check it, and {url_variable}") from None
