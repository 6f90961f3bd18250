"""What a batch prediction reads, predicts with and writes."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator

from llm.config import Config
from llm.corpora.addresses import RemoteAccess
from llm.corpora.sql_query import ORDERED

SQL = "sql:"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
_TABLE = re.compile(r"sql:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?")


class BatchConfig(Config):
    """From a file or a query to a file or a table."""

    input: str = Field(
        min_length=1,
        title="Input",
        description="a file (.jsonl, .csv, .tsv, .parquet; .txt with a text a line; also as .gz or .zst), an https:// "
        "or s3:// address of one, or a query: sql:SELECT id, body FROM tickets ORDER BY id. "
        "A path is relative to where the worker was started",
    )
    output: str = Field(
        min_length=1,
        title="Output",
        description="a file on this machine (.jsonl, .csv, .tsv, .parquet; also .jsonl.gz, .csv.gz and .tsv.gz), or a "
        "table: sql:answers. It appears when it is whole",
    )
    column: str | None = Field(
        None,
        min_length=1,
        title="Column",
        description="the column that is predicted from; left out, `source` for a translation and else `text`",
    )
    prefix: str = Field(
        "", title="Prefix", description="goes before the names of the new columns, if the input has these names already"
    )
    params: dict[str, Any] = Field(
        default_factory=dict, title="Parameters", description='of the inference, by name, such as {"num_beams": 1}'
    )
    overwrite: bool = Field(
        False, title="Overwrite", description="replace an output that exists, once the new is whole"
    )
    start_anew: bool = Field(
        False, title="Start anew", description="drop what an earlier job left unfinished for this output"
    )
    rows_per_part: int = Field(
        1000,
        ge=1,
        le=100_000,
        title="Rows per part",
        description="rows that are predicted together, sorted by length; what a killed job loses at most",
    )
    input_url_variable: str = Field(
        "NIGHTSHIFT_SQL_URL",
        pattern=_VARIABLE,
        title="Database of the input",
        description="environment variable with the SQLAlchemy URL that a query is sent to",
    )
    output_url_variable: str = Field(
        "NIGHTSHIFT_SQL_URL",
        pattern=_VARIABLE,
        title="Database of the output",
        description="environment variable with the SQLAlchemy URL that a table is written to",
    )
    remote: RemoteAccess = Field(RemoteAccess(), title="Remote files", description="what may be read from elsewhere")

    @field_validator("input")
    @classmethod
    def _query_is_ordered(cls, value: str) -> str:
        if value.startswith(SQL) and not ORDERED.search(value):
            raise ValueError("has no ORDER BY: write sql:SELECT ... ORDER BY ..., so that rows keep one order")
        return value

    @field_validator("output")
    @classmethod
    def _table_has_a_name(cls, value: str) -> str:
        if value.startswith(SQL) and not _TABLE.fullmatch(value):
            raise ValueError("is no name of a table: write sql:TABLE or sql:SCHEMA.TABLE, in letters, digits and _")
        return value
