"""Where rows come from: one file, or the result of a query that is kept so that it can be read again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llm.batch_prediction.config import SQL, BatchConfig
from llm.batch_prediction.snapshot import read_snapshot, write_snapshot
from llm.corpora.addresses import RemoteAccess, is_remote, shown
from llm.corpora.archives import is_archive
from llm.corpora.base import Unreadable, sha256_of_text
from llm.corpora.files import asked, find_files, name_of, open_files
from llm.corpora.formats.base import FormatOptions, OpenFile
from llm.corpora.formats.delimited import check_header, plain_rows, quoted_rows
from llm.corpora.formats.json_lines import json_object, strict_decoder
from llm.corpora.formats.lines import lines
from llm.corpora.formats.parquet import seekable
from llm.corpora.formats.rows import RowError
from llm.corpora.guess import format_of
from llm.corpora.remote import RemoteFile, fetch
from llm.corpora.sql_query import query_result
from llm.errors import CorpusError
from llm.files import sha256_of, write_atomically
from llm.use import hold

TEXT_COLUMN = "text"
_PARQUET_ROWS = 1024
_SNAPSHOT = "query.jsonl"
_OPTIONS = FormatOptions()

Row = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """Rows that can be read more than once; `columns` None: each row names its own. `schema`: pyarrow's, of Parquet."""

    name: str
    columns: tuple[str, ...] | None
    rows: Callable[[], Iterator[Row | Unreadable]]
    schema: Any = None


class Source(Protocol):
    """An input that was found."""

    @property
    def name(self) -> str:
        """What people are shown: without secrets."""

    def fingerprint(self) -> str:
        """What says that a job which goes on reads the same."""

    def table(self, work: Path) -> Table:
        """The rows; what must be kept for a job that goes on is kept in the folder `work`.

        Raises CorpusError when they cannot be read, or have a column twice.
        """


def find_source(config: BatchConfig, *, downloads: Path) -> Source:
    """The input of a job; a remote file is downloaded.

    Raises CorpusError that names the input when it is missing, is more than one file, or is of no known format;
    DownloadError.
    """
    if config.input.startswith(SQL):
        return QuerySource(config.input.removeprefix(SQL), config.input_url_variable)
    found = find_files([config.input], config.remote)
    if len(found) > 1:
        name = shown(config.input) if is_remote(config.input) else config.input
        raise CorpusError(f"{name}: names {len(found)} files", remedy="name one; start a job for each of several")
    file = found[0]
    name = name_of(file)
    kind = format_of(name)
    if kind is None or is_archive(Path(name)):
        raise CorpusError(
            f"{name}: its name does not tell a format that is read here",
            remedy="name a file in .jsonl, .csv, .tsv, .parquet or .txt, or one of these in .gz or .zst",
        )
    if not isinstance(file, RemoteFile):
        return FileSource(name, file, kind)
    path = fetch(file, access=config.remote, downloads=downloads)
    hold(path.parent)  # it is opened again at the end, and a job may take longer than unused downloads are kept
    return FileSource(name, path, kind)


@dataclass(frozen=True)
class FileSource:
    """One file on this machine; see Source."""

    name: str
    path: Path
    kind: str

    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return asked(self.path, sha256_of)

    def table(self, work: Path) -> Table:
        """Columns of a CSV or TSV file from its header, of Parquet from its schema, of text the one it has."""
        del work  # the file itself is read again
        reader = _READERS[self.kind]
        with closing(self._open()) as files:
            columns, schema = reader.head(next(files))
        return Table(self.name, columns, self._rows, schema)

    def _rows(self) -> Iterator[Row | Unreadable]:
        with closing(self._open()) as files:
            yield from _READERS[self.kind].rows(next(files))

    def _open(self) -> Generator[OpenFile, None, None]:
        return open_files([self.path], access=RemoteAccess(), downloads=Path())


@dataclass(frozen=True)
class QuerySource:
    """The result of one query; see Source."""

    query: str
    url_variable: str

    @property
    def name(self) -> str:
        """The query; not the database, whose URL may hold a password."""
        return f"{SQL}{self.query}"

    def fingerprint(self) -> str:
        """Of the query: its result is kept, so that a job which goes on reads the same rows."""
        return sha256_of_text(f"{self.url_variable}\0{self.query}")

    def table(self, work: Path) -> Table:
        """Asks the database once; after that, the result is read from `work`."""
        kept = work / _SNAPSHOT
        if not kept.exists():
            with query_result(self.url_variable, self.query, options=("input", "input_url_variable")) as result:
                columns = list(result.keys())
                check_header(columns, _OPTIONS, origin=self.name)
                write_atomically(kept, lambda path: write_snapshot(path, columns, result))
        columns, _ = read_snapshot(kept)
        return Table(self.name, tuple(columns), lambda: read_snapshot(kept)[1])


Columns = tuple[str, ...] | None


@dataclass(frozen=True)
class _Reader:
    """`head`: the columns and the schema that a file names; `rows`: all that is in it."""

    head: Callable[[OpenFile], tuple[Columns, Any]]
    rows: Callable[[OpenFile], Iterator[Row | Unreadable]]


def _delimited(split: Callable[[OpenFile, FormatOptions], Iterator[Any]]) -> _Reader:
    def header(file: OpenFile) -> tuple[str, ...]:
        first = next(split(file, _OPTIONS), None)
        if first is None or isinstance(first, Unreadable):
            why = first.reason if first else "holds no row"
            raise CorpusError(f"{file.name}: has no header that can be read: {why}", remedy="correct its first line")
        names: list[str] = first[1]
        check_header(names, _OPTIONS, origin=file.name)
        return tuple(names)

    def rows(file: OpenFile) -> Iterator[Row | Unreadable]:
        names: list[str] | None = None
        for found in split(file, _OPTIONS):
            if isinstance(found, Unreadable):
                yield found
                continue
            line, cells = found
            if names is None:
                names = cells
            elif len(cells) == len(names):
                yield dict(zip(names, cells, strict=True))
            else:
                reason = f"{len(cells)} cells, where there are {len(names)} columns"
                yield Unreadable("cells", reason, file.name, line.number, line.offset)

    return _Reader(lambda file: (header(file), None), rows)


def _json_rows(file: OpenFile) -> Iterator[Row | Unreadable]:
    decoder = strict_decoder()
    for line in lines(file.stream, origin=file.name, longest=_OPTIONS.longest):
        if isinstance(line, Unreadable):
            if line.defect != "empty_file":  # no rows, and no fault
                yield line
        elif line.text and not line.text.isspace():
            try:
                yield json_object(line, decoder)
            except RowError as error:
                yield Unreadable(error.defect, str(error), file.name, line.number, line.offset)


def _text_rows(file: OpenFile) -> Iterator[Row | Unreadable]:
    for line in lines(file.stream, origin=file.name, longest=_OPTIONS.longest):
        if not isinstance(line, Unreadable):
            yield {TEXT_COLUMN: line.text}
        elif line.defect != "empty_file":
            yield line


def _parquet(file: OpenFile) -> Any:
    import pyarrow.parquet  # here: it takes a third of a second to import

    try:
        return pyarrow.parquet.ParquetFile(seekable(file.stream))
    except (OSError, ValueError) as error:  # pyarrow's errors about content are ValueErrors
        raise _not_parquet(file, error) from None


def _parquet_head(file: OpenFile) -> tuple[Columns, Any]:
    schema = _parquet(file).schema_arrow
    check_header(schema.names, _OPTIONS, origin=file.name)
    return tuple(schema.names), schema


def _parquet_rows(file: OpenFile) -> Iterator[Row | Unreadable]:
    try:
        for batch in _parquet(file).iter_batches(_PARQUET_ROWS):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise _not_parquet(file, error) from None


def _not_parquet(file: OpenFile, error: Exception) -> CorpusError:
    return CorpusError(f"{file.name}: not readable as parquet ({str(error).strip()})", remedy="correct the file")


_READERS = {
    "jsonl": _Reader(lambda file: (None, None), _json_rows),  # noqa: ARG005
    "csv": _delimited(quoted_rows),
    "tsv": _delimited(plain_rows),
    "txt": _Reader(lambda file: ((TEXT_COLUMN,), None), _text_rows),  # noqa: ARG005
    "parquet": _Reader(_parquet_head, _parquet_rows),
}
