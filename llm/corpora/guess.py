"""Options for a source of which only the name is known: the format by its ending, columns by their usual names."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any

from llm.corpora import CORPORA
from llm.corpora.addresses import RemoteAccess, is_remote, shown
from llm.corpora.base import Unreadable
from llm.corpora.files import find_files, open_files
from llm.corpora.formats.base import OpenFile
from llm.corpora.formats.lines import lines
from llm.errors import CorpusError

_FORMATS = {
    ".txt": "txt",
    ".text": "txt",
    ".md": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_COMPRESSED = (".gz", ".zst")
# Of each, the first that is there, whatever its case.
_USUAL = {
    "text": ("text", "body", "content", "sentence", "message", "document", "review", "question"),
    "label": ("label", "topic", "category", "class", "intent", "team", "coarse"),
    "source": ("source", "src", "en", "input"),
    "target": ("target", "tgt", "translation", "output"),
}
_LONGEST = 1_000_000


def guess_options(source: str) -> dict[str, Any]:
    """Options of a corpus: `source` is the name of a built-in one, or a path or pattern.

    Raises CorpusError that says which option is to be given where nothing can be guessed.
    """
    if source in CORPORA and source != "local_files":
        return {"source": source}
    access = RemoteAccess()
    if is_remote(source):
        return _guess_remote(source)
    with closing(open_files(find_files([source], access), access=access, downloads=Path())) as files:
        file = next(files)
        kind = format_of(file.name)
        if kind is None:
            raise CorpusError(
                f"{file.name}: its name does not tell the format",
                remedy=f"say which it is, such as --set corpus.format=txt; it is told by {', '.join(_FORMATS)}",
            )
        options: dict[str, Any] = {"source": "local_files", "format": kind, "paths": [source]}
        return options if kind == "txt" else {**options, "columns": _usual_columns(_columns(kind, file), file.name)}


def _guess_remote(source: str) -> dict[str, Any]:
    """By the name alone: what is remote is downloaded when it is asked for, and not to look."""
    kind = format_of(shown(source))
    if kind != "txt":
        raise CorpusError(
            f"{shown(source)}: is remote, and its format and columns are not guessed",
            remedy="say them: --set corpus.format=jsonl --set 'corpus.columns={text: COLUMN}'",
        )
    return {"source": "local_files", "format": kind, "paths": [source]}


def format_of(name: str) -> str | None:
    """The format that the name of a file tells, compressed or not; None: it does not."""
    return _FORMATS.get(_ending(name))


def _ending(name: str) -> str:
    path = PurePath(name.lower())
    return PurePath(path.stem).suffix if path.suffix in _COMPRESSED else path.suffix


def _columns(kind: str, file: OpenFile) -> list[str]:
    if kind == "parquet":
        import pyarrow.parquet  # here: it takes a third of a second to import

        names: list[str] = pyarrow.parquet.ParquetFile(file.stream).schema_arrow.names
        return names
    first = next(lines(file.stream, origin=file.name, longest=_LONGEST))
    if isinstance(first, Unreadable):
        raise CorpusError(f"{file.name}: its first line cannot be read: {first.reason}", remedy="correct the file")
    if kind == "jsonl":
        try:
            row = json.loads(first.text)
        except ValueError as error:
            raise CorpusError(f"{file.name}: its first line is not JSON: {error}", remedy="correct it") from None
        return list(row) if isinstance(row, dict) else []
    return next(csv.reader([first.text], delimiter="\t" if kind == "tsv" else ","))


def _usual_columns(names: list[str], origin: str) -> dict[str, str]:
    by_lower = {name.lower(): name for name in reversed(names)}
    found = {}
    for field, usual in _USUAL.items():
        name = next((by_lower[name] for name in usual if name in by_lower), None)
        if name is not None:
            found[field] = name
    if "text" in found:
        return {field: found[field] for field in ("text", "label") if field in found}
    if "source" in found and "target" in found:
        return {field: found[field] for field in ("source", "target")}
    raise CorpusError(
        f"{origin}: no column has a usual name; there are {', '.join(map(repr, names))}",
        remedy="say which holds what, such as --set 'corpus.columns={text: COLUMN}'",
    )
