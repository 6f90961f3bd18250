"""Your own files: plain text, JSON lines, CSV, TSV, Parquet, or parallel text in two files."""

from __future__ import annotations

import csv
import glob
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from llm.corpora.base import Record, SourceConfig, Step, check_utf8, decode_utf8, short_hash
from llm.errors import CorpusError
from llm.files import sha256_of

if TYPE_CHECKING:
    import pandas as pd

FieldName = Literal["text", "label", "source", "target"]
_TABLES = ("jsonl", "csv", "tsv", "parquet")
_CSV_ROWS = 50_000


class LocalFilesConfig(SourceConfig):
    """Files on this machine."""

    source: Literal["local_files"] = "local_files"
    format: Literal["txt", "jsonl", "csv", "tsv", "parquet", "parallel"] = Field(
        description="parallel: line n of a file in `paths` is translated by line n of its file in `target_paths`; "
        "tsv: tabs part the columns, and quotes mean nothing"
    )
    paths: tuple[str, ...] = Field(min_length=1, description="files, or patterns such as texts/**/*.txt")
    target_paths: tuple[str, ...] = Field((), description="parallel only: the translations, in the order of `paths`")
    columns: dict[FieldName, str] = Field(
        {}, description="jsonl, csv, tsv, parquet: the column that holds each field, such as {text: body, label: topic}"
    )
    group_column: str | None = Field(
        None, description="jsonl, csv, tsv, parquet: rows alike in this column share a split; none: identical rows do"
    )
    document: Literal["file", "paragraph", "line"] = Field(
        "paragraph", description="txt only: what one record is; blank lines part paragraphs"
    )
    terms: str = Field("not stated", description="the licence or terms of the data, for the manifest")

    @model_validator(mode="after")
    def _options_fit_the_format(self) -> LocalFilesConfig:
        if (self.format == "parallel") != bool(self.target_paths):
            raise ValueError("target_paths belongs to the format parallel, which needs it")
        if (self.format in _TABLES) != bool(self.columns):
            raise ValueError(f"columns belongs to the formats {', '.join(_TABLES)}, which need it: {{text: <column>}}")
        if self.group_column is not None and self.format not in _TABLES:
            raise ValueError(f"group_column belongs to the formats {', '.join(_TABLES)}")
        # By value and not by model_fields_set: a form and a dumped config name every option.
        if self.document != "paragraph" and self.format != "txt":
            raise ValueError("document belongs to the format txt")
        if self.columns and "text" not in self.columns and "source" not in self.columns:
            raise ValueError("columns must name the column of the field text, or of source and target")
        return self


class LocalFiles:
    """Records of the files, in the order of the files."""

    config: ClassVar[type[SourceConfig]] = LocalFilesConfig
    version: ClassVar[int] = 1

    def fields(self, config: LocalFilesConfig) -> tuple[str, ...]:
        """What `columns` maps; text for txt; source and target for parallel text."""
        if config.format == "parallel":
            return ("source", "target")
        return tuple(config.columns) or ("text",)

    def origin(self, config: LocalFilesConfig) -> dict[str, Any]:
        """The paths as given, and the terms as stated; the checksums are among the inputs of the manifest."""
        return {"paths": [*config.paths, *config.target_paths], "terms": config.terms}

    def content(self, config: LocalFilesConfig) -> dict[str, str]:
        """SHA-256 of each file, so that a changed file makes another corpus."""
        return {str(path): _checksum(path) for path in _files((*config.paths, *config.target_paths))}

    def records(self, config: LocalFilesConfig, *, downloads: Path) -> Iterator[Record]:  # noqa: ARG002
        """Rows or documents; group: `group_column`, else a hash of the text (the source, in a translation)."""
        return _READERS[config.format](config)

    def steps(self, config: LocalFilesConfig) -> Mapping[str, Step]:  # noqa: ARG002
        """None of its own."""
        return {}


def _files(patterns: Sequence[str]) -> list[Path]:
    files: dict[Path, None] = {}
    for pattern in patterns:
        literal = Path(pattern).expanduser()
        # A name that exists is meant as it stands, brackets included.
        found = (
            [literal] if literal.exists() else [Path(name) for name in sorted(glob.glob(str(literal), recursive=True))]
        )
        if literal.is_dir():
            raise CorpusError(f"{pattern}: is a folder", remedy=f"name its files, such as {pattern.rstrip('/')}/*.txt")
        found = [path for path in found if path.is_file()]
        if not found:
            raise CorpusError(f"{pattern}: no such file", remedy=f"correct the path; it is relative to {Path.cwd()}")
        files |= dict.fromkeys(found)
    return list(files)


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})", remedy="check its permissions") from None


def _record(fields: dict[str, str], group: str | None) -> Record:
    own = fields["text"] if "text" in fields else fields["source"]
    return Record(group=short_hash(own) if group is None else group, fields=fields)


def _lines(path: Path) -> Iterator[str]:
    # Only a newline ends a line: str.splitlines would also cut at U+2028 and form feeds, and break the alignment.
    check_utf8(path)
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for line in file:
            yield line.rstrip("\r\n")


def _text_records(config: LocalFilesConfig) -> Iterator[Record]:
    for path in _files(config.paths):
        for document in _DOCUMENTS[config.document](path):
            yield _record({"text": document}, None)


def _whole(path: Path) -> Iterator[str]:
    yield decode_utf8(path.read_bytes(), where=str(path))


def _paragraphs(path: Path) -> Iterator[str]:
    lines: list[str] = []
    for line in _lines(path):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


_DOCUMENTS: dict[str, Callable[[Path], Iterator[str]]] = {"file": _whole, "paragraph": _paragraphs, "line": _lines}


def _parallel_records(config: LocalFilesConfig) -> Iterator[Record]:
    sources, targets = _files(config.paths), _files(config.target_paths)
    if len(sources) != len(targets):
        raise CorpusError(
            f"paths name {len(sources)} files, but target_paths {len(targets)}",
            remedy="name one file of translations for each file of sources, in the same order",
        )
    for source_path, target_path in zip(sources, targets, strict=True):
        for number, (source, target) in enumerate(zip_longest(_lines(source_path), _lines(target_path)), start=1):
            if source is None or target is None:
                short, long = (source_path, target_path) if source is None else (target_path, source_path)
                raise CorpusError(
                    f"{short} ends before line {number}, but {long} goes on",
                    remedy="make both files equally long: line n of one is the translation of line n of the other",
                )
            yield _record({"source": source, "target": target}, None)


def _jsonl_records(config: LocalFilesConfig) -> Iterator[Record]:
    for path in _files(config.paths):
        for number, line in enumerate(_lines(path), start=1):
            if line.strip():
                yield _json_record(line, config, where=f"{path}:{number}")


def _json_record(line: str, config: LocalFilesConfig, *, where: str) -> Record:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{where}: not JSON ({error})", remedy="write one JSON object a line") from None
    if not isinstance(row, dict):
        raise CorpusError(f"{where}: {line[:80]!r} is not a JSON object", remedy="write one JSON object a line")
    _check_columns(list(row), config, where=where)
    return _row_record(row, config, where=where)


def _table_records(config: LocalFilesConfig) -> Iterator[Record]:
    for path in _files(config.paths):
        # Rows, not lines: a quoted cell of a CSV file may hold newlines.
        number = 0
        for frame in _frames(path, config):
            _check_columns([str(name) for name in frame.columns], config, where=str(path))
            for row in frame.astype(object).where(frame.notna(), None).to_dict(orient="records"):
                number += 1
                yield _row_record(row, config, where=f"{path}, row {number}")


def _frames(path: Path, config: LocalFilesConfig) -> Iterator[pd.DataFrame]:
    import pandas as pd  # here: it takes a third of a second to import, and built-in corpora do without it

    try:
        if config.format == "parquet":
            yield pd.read_parquet(path, dtype_backend="numpy_nullable")  # whole numbers stay so beside missing ones
            return
        check_utf8(path)
        with pd.read_csv(
            path,
            sep="\t" if config.format == "tsv" else ",",
            quoting=csv.QUOTE_NONE if config.format == "tsv" else csv.QUOTE_MINIMAL,
            dtype=str,
            keep_default_na=False,  # "NA", "null" and "nan" are text here
            encoding="utf-8-sig",
            chunksize=_CSV_ROWS,
        ) as frames:
            for frame in frames:
                # pandas takes surplus leading cells for an index, and every column would be off by one.
                if not isinstance(frame.index, pd.RangeIndex):
                    raise ValueError("its rows have more cells than its header")  # noqa: TRY004 - about content
                yield frame
    except (OSError, ValueError) as error:  # pandas' and pyarrow's errors about content are ValueErrors
        raise CorpusError(
            f"{path}: not readable as {config.format} ({str(error).strip()})",
            remedy="correct the file, or the format of the corpus",
        ) from None


def _check_columns(present: list[str], config: LocalFilesConfig, *, where: str) -> None:
    wanted = [*config.columns.values(), *([] if config.group_column is None else [config.group_column])]
    for column in wanted:
        if column not in present:
            raise CorpusError(
                f"{where}: there is no column {column!r}", remedy=f"choose from {', '.join(map(repr, present))}"
            )


def _row_record(row: Mapping[str, object], config: LocalFilesConfig, *, where: str) -> Record:
    fields: dict[str, str] = {
        field: _as_text(row[column], where=f"{where}, column {column!r}") for field, column in config.columns.items()
    }
    if config.group_column is None:
        return _record(fields, None)
    return _record(fields, _as_text(row[config.group_column], where=f"{where}, column {config.group_column!r}"))


def _as_text(value: object, *, where: str) -> str:
    if isinstance(value, str):
        return value
    # A missing value becomes blank, and the cleaning step of that name counts it.
    if value is None:
        return ""
    if type(value) is int:  # not a bool, which is a kind of int
        return str(value)
    raise CorpusError(
        f"{where}: {str(value)[:80]!r} is {type(value).__name__}, neither text nor a whole number",
        remedy="store text in that column, or name another",
    )


_READERS: dict[str, Callable[[LocalFilesConfig], Iterator[Record]]] = {
    "txt": _text_records,
    "parallel": _parallel_records,
    "jsonl": _jsonl_records,
    **dict.fromkeys(("csv", "tsv", "parquet"), _table_records),
}
