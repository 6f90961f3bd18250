"""Where rows go: files by the ending of their name, written from a stream in flat memory."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from llm.batch_prediction.values import Kind, as_json, as_text, fitted
from llm.errors import ConfigError

# Rows of a row group of Parquet.
_GROUP = 10_000

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Layout:
    """The columns of the output in their order, and what is known of them where the format asks for it.

    `schema`: pyarrow's, of columns that come out of Parquet.
    """

    columns: Sequence[str]
    kinds: Mapping[str, Kind]
    schema: Any = None


@dataclass(frozen=True)
class Format:
    """How rows become a file; `named`: columns must be known before; `typed`: their kinds too."""

    write: Callable[[Path, Rows, Layout, bool], None]
    named: bool
    typed: bool


def format_for(output: str) -> tuple[Format, bool]:
    """The format of an output file, and whether it is compressed by gzip.

    Raises ConfigError when its name does not tell one.
    """
    name = output.lower()
    plain = name.removesuffix(".gz")
    found = next((form for ending, form in _FORMATS.items() if plain.endswith(ending)), None)
    if found is None or (found.typed and plain != name):
        raise ConfigError(
            f"output {output!r}: its name does not tell a format that is written",
            remedy=f"end it in {', '.join(_FORMATS)}, or in .jsonl.gz, .csv.gz or .tsv.gz; a table is sql:NAME",
        )
    return found, plain != name


def _write_json_lines(path: Path, rows: Rows, layout: Layout, zipped: bool) -> None:  # noqa: ARG001
    with _text_file(path, zipped) as file:
        for row in rows:
            # A lone surrogate stays what it was: its escape is JSON, its bytes would not be UTF-8.
            line = as_json(row)
            file.write(f"{line}\n" if _is_utf8(line) else f"{_escaped(line)}\n")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escaped(line: str) -> str:
    return "".join(f"\\u{ord(one):04x}" if "\ud800" <= one <= "\udfff" else one for one in line)


def _write_csv(path: Path, rows: Rows, layout: Layout, zipped: bool) -> None:
    """RFC 4180, but for line ends of one byte. Cells are what they are: a spreadsheet may take some for formulas."""
    with _text_file(path, zipped) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(layout.columns)
        writer.writerows([as_text(row.get(name)) for name in layout.columns] for row in rows)


def _write_tsv(path: Path, rows: Rows, layout: Layout, zipped: bool) -> None:
    """Only a cell that would break its row, or that begins with a quote, is quoted."""
    with _text_file(path, zipped) as file:
        file.write("\t".join(map(_tsv_cell, layout.columns)) + "\n")
        for row in rows:
            file.write("\t".join(_tsv_cell(as_text(row.get(name))) for name in layout.columns) + "\n")


def _tsv_cell(text: str | None) -> str:
    if text is None:
        return ""
    if text.startswith('"') or any(one in text for one in "\t\n\r"):
        return '"' + text.replace('"', '""') + '"'
    return text


@contextmanager
def _text_file(path: Path, zipped: bool) -> Iterator[TextIO]:
    with path.open("wb") as raw:
        # Neither the time nor a name: the same rows are the same bytes.
        stream = gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) if zipped else raw
        with io.TextIOWrapper(stream, encoding="utf-8", newline="") as file:
            yield file


def _write_parquet(path: Path, rows: Rows, layout: Layout, zipped: bool) -> None:  # noqa: ARG001
    import pyarrow
    import pyarrow.parquet

    schema = layout.schema if layout.schema is not None else pyarrow.schema([])
    new = [name for name in layout.columns if name not in schema.names]
    for name in new:
        schema = schema.append(pyarrow.field(name, _arrow_types()[layout.kinds[name]]))
    waiting = iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(waiting, _GROUP)):
            fit = [{**row, **{name: fitted(row.get(name), layout.kinds[name]) for name in new}} for row in group]
            writer.write_table(pyarrow.Table.from_pylist(fit, schema=schema))


def _arrow_types() -> dict[Kind, Any]:
    import pyarrow

    return {
        "text": pyarrow.string(),
        "integer": pyarrow.int64(),
        "float": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
        "datetime": pyarrow.timestamp("us"),
        "date": pyarrow.date32(),
        "bytes": pyarrow.binary(),
    }


_FORMATS = {
    ".jsonl": Format(_write_json_lines, named=False, typed=False),
    ".ndjson": Format(_write_json_lines, named=False, typed=False),
    ".csv": Format(_write_csv, named=True, typed=False),
    ".tsv": Format(_write_tsv, named=True, typed=False),
    ".parquet": Format(_write_parquet, named=True, typed=True),
}
