"""Your own files: text, tables and translations in several formats; as they are, compressed or in archives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, FieldSerializationInfo, field_serializer, model_validator

from llm.corpora.addresses import WITH_SECRETS, RemoteAccess, is_remote, scheme_of, shown
from llm.corpora.base import Checksum, Pieces, Record, SourceConfig, Step, Unreadable, sha256_of_text, short_hash
from llm.corpora.files import (
    File,
    PieceConfig,
    asked,
    find_files,
    is_plain,
    name_of,
    open_files,
    open_piece,
    pattern_of,
)
from llm.corpora.formats.base import FormatOptions, OpenFile, Reader
from llm.corpora.formats.delimited import read_csv, read_tsv
from llm.corpora.formats.gettext import read_catalogs
from llm.corpora.formats.json_lines import read_json_lines
from llm.corpora.formats.parallel import read_parallel
from llm.corpora.formats.parquet import read_parquet
from llm.corpora.formats.text import read_text
from llm.corpora.formats.tmx import read_tmx
from llm.corpora.remote import RemoteFile
from llm.errors import CorpusError
from llm.pieces import Piece

_READERS: dict[str, Reader] = {
    "txt": read_text,
    "jsonl": read_json_lines,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "tmx": read_tmx,
    "po": read_catalogs,
}
_PAIRS = ("parallel", "tmx", "po")
_TABLES = ("jsonl", "csv", "tsv", "parquet")
_WITH_HEADER = ("csv", "tsv")
# A part is a folder with a manifest. Of more files, those whose names begin alike when hashed share one of so many.
_MOST_PARTS = 256
# Where a large file may be cut, by what a record of it is.
_CUTS = {"line": re.compile(rb"\n"), "paragraph": re.compile(rb"\n[ \t\r]*\n")}


class LocalFilesConfig(FormatOptions, SourceConfig):
    """Files on this machine, or at an address that this machine can reach."""

    source: Literal["local_files"] = "local_files"
    format: Literal["txt", "jsonl", "csv", "tsv", "parquet", "parallel", "tmx", "po"] = Field(
        description="parallel: line n of a file in `paths` is translated by line n of its file in `target_paths`; "
        "tmx: translation memories; po: gettext catalogs; tsv: tabs part the columns, and quotes mean nothing"
    )
    paths: tuple[str, ...] = Field(
        min_length=1,
        description="files, patterns such as texts/**/*.txt, https:// addresses, or s3:// and gs:// patterns; .gz and "
        ".zst are decompressed, and the files in .zip, .tar, .tar.gz and .tar.zst are read one after another",
    )
    target_paths: tuple[str, ...] = Field((), description="parallel only: the translations, in the order of `paths`")
    remote: RemoteAccess = RemoteAccess()
    terms: str = Field("not stated", description="the licence or terms of the data, for the manifest")

    @field_serializer("paths", "target_paths", when_used="json")
    def _without_secrets(self, paths: tuple[str, ...], info: FieldSerializationInfo) -> list[str]:
        # What is written down or logged must not hold a signature or a password; who fetches the files asks for all.
        return [shown(path) if scheme_of(path) and info.context != WITH_SECRETS else path for path in paths]

    @model_validator(mode="after")
    def _options_fit_the_format(self) -> LocalFilesConfig:
        if (self.format == "parallel") != bool(self.target_paths):
            raise ValueError("target_paths belongs to the format parallel, which needs it")
        if (self.format in _TABLES) != bool(self.columns):
            raise ValueError(f"columns belongs to the formats {', '.join(_TABLES)}, which need it: {{text: <column>}}")
        if self.group_column is not None and self.format not in _TABLES:
            raise ValueError(f"group_column belongs to the formats {', '.join(_TABLES)}")
        # By value and not by model_fields_set: a form and a dumped config name every option.
        if not self.header and self.format not in _WITH_HEADER:
            raise ValueError(f"header belongs to the formats {', '.join(_WITH_HEADER)}")
        if self.document != "paragraph" and self.format != "txt":
            raise ValueError("document belongs to the format txt")
        if (self.format == "tmx") != bool(self.languages) or len(self.languages) not in (0, 2):
            raise ValueError("languages belongs to the format tmx, which needs two, such as [en, de]")
        return self


class LocalFilesPart(LocalFilesConfig):
    """Some of the files, or a piece of one; `found` are those at an address, so that each is asked for once."""

    piece: PieceConfig | None = None
    found: tuple[RemoteFile, ...] = ()

    @field_serializer("found", when_used="json")
    def _found_without_secrets(self, found: tuple[RemoteFile, ...], info: FieldSerializationInfo) -> list[Any]:
        # Their versions are among the content.
        return [asdict(file) for file in found] if info.context == WITH_SECRETS else []


class LocalFiles:
    """Records of the files, in the order of the files."""

    config: ClassVar[type[SourceConfig]] = LocalFilesConfig
    part: ClassVar[type[SourceConfig]] = LocalFilesPart
    version: ClassVar[int] = 3
    shipped: ClassVar[bool] = False

    def fields(self, config: LocalFilesConfig) -> tuple[str, ...]:
        """What `columns` maps; text for txt; source and target for translations."""
        if config.format in _PAIRS:
            return ("source", "target")
        return tuple(config.columns) or ("text",)

    def origin(self, config: LocalFilesConfig) -> dict[str, Any]:
        """The paths as given, and the terms as stated; the checksums are among the inputs of the manifest."""
        paths = [shown(path) if is_remote(path) else path for path in (*config.paths, *config.target_paths)]
        return {"paths": paths, "terms": config.terms}

    def parts(self, config: LocalFilesConfig, *, pieces: Pieces) -> dict[str, LocalFilesPart]:
        """File by file, or by groups of files where there are very many; a large one piece by piece.

        Raises CorpusError when files are missing or cannot be read, or are not as many as their translations.
        """
        sources, targets = find_files(config.paths, config.remote), find_files(config.target_paths, config.remote)
        if targets and len(sources) != len(targets):
            raise CorpusError(
                f"paths name {len(sources)} files, but target_paths {len(targets)}",
                remedy="name one file of translations for each file of sources, in the same order",
            )
        parts: dict[str, dict[str, Any]] = {}
        for number, file in enumerate(sources):
            name, paths = name_of(file), (pattern_of(file),)
            cut = _pieces(file, config, pieces)
            for piece in cut:
                parts[f"{name} from byte {piece.start:,}"] = {"paths": paths, "piece": PieceConfig(**asdict(piece))}
            if not cut:
                group = name if len(sources) <= _MOST_PARTS else f"files {short_hash(name)[:2]}"
                part = parts.setdefault(group, {"paths": (), "target_paths": (), "found": ()})
                part["paths"] += paths
                part["target_paths"] += tuple(map(pattern_of, targets[number : number + 1]))
                both = (file, *targets[number : number + 1])
                part["found"] += tuple(found for found in both if isinstance(found, RemoteFile))
        options = dict(config)
        return {name: LocalFilesPart(**options | part) for name, part in parts.items()}

    def size(self, config: LocalFilesPart) -> int:
        """Of the piece, or of the files as they lie on the disk or at the other end."""
        if config.piece is not None:
            return config.piece.end - config.piece.start
        files = _files(config, (*config.paths, *config.target_paths))
        return sum((file.size or 0) if isinstance(file, RemoteFile) else file.stat().st_size for file in files)

    def content(self, config: LocalFilesConfig, *, checksum: Checksum) -> dict[str, str]:
        """SHA-256 of each file, or of a remote one's address and version, so that a changed file is another corpus."""
        if isinstance(config, LocalFilesPart) and config.piece is not None:
            return {config.paths[0]: config.piece.sha256}
        found: dict[str, str] = {}
        for file in _files(config, (*config.paths, *config.target_paths)):
            name = name_of(file)
            if isinstance(file, RemoteFile):
                content = sha256_of_text(f"{file.url}\0{file.version}")
            else:
                content = asked(file, checksum)
            # Two addresses may differ in what is not shown of them.
            found[name] = sha256_of_text(found[name] + content) if name in found else content
        return found

    def records(self, config: LocalFilesConfig, *, downloads: Path) -> Iterator[Record | Unreadable]:
        """Rows or documents; group: `group_column`, else none: the text (the source, in a translation) is its own."""

        def opened(patterns: Sequence[str]) -> Iterator[OpenFile]:
            return open_files(_files(config, patterns), access=config.remote, downloads=downloads)

        if isinstance(config, LocalFilesPart) and config.piece is not None:
            return _READERS[config.format](open_piece(Path(config.paths[0]), config.piece), config)
        if config.format == "parallel":
            return read_parallel(opened(config.paths), opened(config.target_paths), config)
        return _READERS[config.format](opened(config.paths), config)

    def steps(self, config: LocalFilesConfig) -> Mapping[str, Step]:  # noqa: ARG002
        """None of its own."""
        return {}


def _files(config: LocalFilesConfig, patterns: Sequence[str]) -> list[File]:
    known = {file.url: file for file in config.found} if isinstance(config, LocalFilesPart) else {}
    if known:
        return [known[pattern] for pattern in patterns]
    return find_files(patterns, config.remote)


def _pieces(file: File, config: LocalFilesConfig, pieces: Pieces) -> Sequence[Piece]:
    # What one record is, where the format can be read from the middle of a file.
    unit = {"jsonl": "line", "txt": config.document}.get(config.format)
    cut = _CUTS.get(unit or "")
    if cut is None or not isinstance(file, Path) or not is_plain(file):
        return ()
    return asked(file, lambda path: pieces(path, cut))
