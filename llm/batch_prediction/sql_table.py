"""A new table of a database, written in one transaction: it is there as a whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from llm.batch_prediction.targets import Layout
from llm.batch_prediction.values import Kind, fitted
from llm.corpora.sql_query import database

_ROWS = 1000  # in one statement


@dataclass(frozen=True)
class SqlTable:
    """The table of that name, in the database whose URL `url_variable` holds.

    Every method raises ConfigError when the variable is not set, CorpusError when the database refuses.
    """

    name: str
    url_variable: str

    def count(self) -> int | None:
        """Its rows; None: there is no such table."""
        import sqlalchemy

        schema, _, name = self.name.rpartition(".")
        with self._engine(f"looking for the table {self.name}") as engine, engine.connect() as connection:
            if not sqlalchemy.inspect(connection).has_table(name, schema=schema or None):
                return None
            table = sqlalchemy.table(name, schema=schema or None)
            return int(connection.scalar(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)))

    def check(self) -> None:
        """See that a table can be created in its place: before hours of work, and not after."""
        import sqlalchemy

        schema, _, name = self.name.rpartition(".")
        column = sqlalchemy.Column("a", sqlalchemy.Integer())
        probe = sqlalchemy.Table(f"{name}_probe", sqlalchemy.MetaData(), column, schema=schema or None)
        with self._engine(f"creating the table {self.name}_probe") as engine, engine.begin() as connection:
            probe.create(connection)
            probe.drop(connection)

    def write(self, rows: Iterable[Mapping[str, Any]], layout: Layout) -> None:
        """Create the table with these rows, in place of one that is there."""
        import sqlalchemy

        schema, _, name = self.name.rpartition(".")
        types = _sql_types()
        columns = [sqlalchemy.Column(one, types[layout.kinds[one]]) for one in layout.columns]
        table = sqlalchemy.Table(name, sqlalchemy.MetaData(), *columns, schema=schema or None)
        waiting = iter(rows)
        with (
            self._engine(f"writing the table {self.name}") as engine,
            engine.connect() as connection,
            connection.begin(),
        ):
            if connection.dialect.name == "sqlite":
                # Its driver begins a transaction at the first row only, behind the statements that drop and create.
                connection.exec_driver_sql("BEGIN")
            table.drop(connection, checkfirst=True)
            table.create(connection)
            while group := list(islice(waiting, _ROWS)):
                fit = [{one: fitted(row.get(one), layout.kinds[one]) for one in layout.columns} for row in group]
                connection.execute(table.insert(), fit)

    def _engine(self, doing: str) -> AbstractContextManager[Any]:
        return database(self.url_variable, doing=doing, option="output_url_variable")


def _sql_types() -> dict[Kind, Any]:
    import sqlalchemy

    return {
        "text": sqlalchemy.Text(),
        "integer": sqlalchemy.BigInteger(),
        "float": sqlalchemy.Double(),
        "boolean": sqlalchemy.Boolean(),
        "datetime": sqlalchemy.DateTime(),
        "date": sqlalchemy.Date(),
        "bytes": sqlalchemy.LargeBinary(),
    }
