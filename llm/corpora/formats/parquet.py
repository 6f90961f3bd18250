"""Parquet, a batch of rows at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from llm.corpora.base import Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.corpora.formats.rows import check_columns, row_item, wanted_columns
from llm.errors import CorpusError

_ROWS = 4096
_CHUNK = 1 << 20


def read_parquet(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """The columns of each row.

    Raises CorpusError when a file is no Parquet or lacks a column: its schema holds for all of its rows.
    """
    for file in files:
        with seekable(file.stream) as stream:
            yield from _rows(stream, options, origin=file.name)


def _rows(stream: BinaryIO, options: FormatOptions, *, origin: str) -> Iterator[Item]:
    import pyarrow.parquet  # here: it takes a third of a second to import, and other formats do without it

    position = 0
    try:
        table = pyarrow.parquet.ParquetFile(stream)
        check_columns(table.schema_arrow.names, options, origin=origin)
        for batch in table.iter_batches(_ROWS, columns=list(dict.fromkeys(wanted_columns(options)))):
            for row in batch.to_pylist():
                position += 1
                yield row_item(row, options, origin=origin, position=position)
    except (OSError, ValueError, MemoryError) as error:  # pyarrow's errors about content are ValueErrors
        if isinstance(error, UnicodeDecodeError):
            yield Unreadable("not_utf8", f"text that is not UTF-8: {error.reason}", origin, position + 1)
            return
        raise CorpusError(
            f"{origin}: not readable as parquet ({str(error).strip() or type(error).__name__})",
            remedy="correct the file, or the format of the corpus",
        ) from None
    if position == 0:
        yield Unreadable("empty_file", "holds no row", origin, 0)


def seekable(stream: BinaryIO) -> BinaryIO:
    """The stream itself, or a copy of it where it comes out of an archive: Parquet is read from its end."""
    if stream.seekable():
        return stream
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    while chunk := stream.read(_CHUNK):
        copy.write(chunk)
    copy.seek(0)
    return copy
