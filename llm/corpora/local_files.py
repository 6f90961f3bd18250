"""Your own files: text, tables and translations in several formats; as they are, compressed or in archives."""

from __future__ import annotations

import glob
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from llm.corpora.addresses import RemoteAccess, is_remote, shown
from llm.corpora.archives import is_archive, open_stream, streams
from llm.corpora.base import Checksum, Record, SourceConfig, Step, Unreadable, sha256_of_text, short_hash
from llm.corpora.formats.base import FormatOptions, OpenFile, Reader
from llm.corpora.formats.delimited import read_csv, read_tsv
from llm.corpora.formats.gettext import read_catalogs
from llm.corpora.formats.json_lines import read_json_lines
from llm.corpora.formats.parallel import read_parallel
from llm.corpora.formats.parquet import read_parquet
from llm.corpora.formats.text import read_text
from llm.corpora.formats.tmx import read_tmx
from llm.corpora.remote import RemoteFile, fetch, find_remote
from llm.errors import CorpusError

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
# Read as they stand, they would be bytes that are no text.
_PACKED_OTHERWISE = (".bz2", ".xz", ".lzma", ".7z", ".rar", ".br", ".lz4")
# A part is a folder with a manifest. Of more files, those whose names begin alike when hashed share one of so many.
_MOST_PARTS = 256


File = Path | RemoteFile


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


class LocalFiles:
    """Records of the files, in the order of the files."""

    config: ClassVar[type[SourceConfig]] = LocalFilesConfig
    version: ClassVar[int] = 2

    def fields(self, config: LocalFilesConfig) -> tuple[str, ...]:
        """What `columns` maps; text for txt; source and target for translations."""
        if config.format in _PAIRS:
            return ("source", "target")
        return tuple(config.columns) or ("text",)

    def origin(self, config: LocalFilesConfig) -> dict[str, Any]:
        """The paths as given, and the terms as stated; the checksums are among the inputs of the manifest."""
        paths = [shown(path) if is_remote(path) else path for path in (*config.paths, *config.target_paths)]
        return {"paths": paths, "terms": config.terms}

    def parts(self, config: LocalFilesConfig) -> dict[str, LocalFilesConfig]:
        """File by file, or by groups of files where there are very many."""
        sources, targets = find_files(config.paths, config.remote), find_files(config.target_paths, config.remote)
        if targets and len(sources) != len(targets):
            raise CorpusError(
                f"paths name {len(sources)} files, but target_paths {len(targets)}",
                remedy="name one file of translations for each file of sources, in the same order",
            )
        groups: dict[str, list[int]] = defaultdict(list)
        for number, file in enumerate(sources):
            name = name_of(file) if len(sources) <= _MOST_PARTS else f"files {short_hash(name_of(file))[:2]}"
            groups[name].append(number)
        return {
            name: config.model_copy(
                update={
                    "paths": tuple(_pattern(sources[number]) for number in numbers),
                    "target_paths": tuple(_pattern(targets[number]) for number in numbers if targets),
                }
            )
            for name, numbers in groups.items()
        }

    def sizes(self, config: LocalFilesConfig) -> dict[str, int]:
        """Of the files as they lie on the disk, or at the other end."""
        return {
            name: sum(
                (file.size or 0) if isinstance(file, RemoteFile) else file.stat().st_size
                for file in find_files((*part.paths, *part.target_paths), config.remote)
            )
            for name, part in self.parts(config).items()
        }

    def content(self, config: LocalFilesConfig, *, checksum: Checksum) -> dict[str, str]:
        """SHA-256 of each file, or of a remote one's address and version, so that a changed file is another corpus."""
        files = find_files((*config.paths, *config.target_paths), config.remote)
        return {name_of(file): _checksum_of(file, checksum) for file in files}

    def records(self, config: LocalFilesConfig, *, downloads: Path) -> Iterator[Record | Unreadable]:
        """Rows or documents; group: `group_column`, else none: the text (the source, in a translation) is its own."""

        def opened(patterns: Sequence[str]) -> Iterator[OpenFile]:
            return open_files(find_files(patterns, config.remote), access=config.remote, downloads=downloads)

        if config.format == "parallel":
            return read_parallel(opened(config.paths), opened(config.target_paths), config)
        return _READERS[config.format](opened(config.paths), config)

    def steps(self, config: LocalFilesConfig) -> Mapping[str, Step]:  # noqa: ARG002
        """None of its own."""
        return {}


def name_of(file: File) -> str:
    """What messages and manifests call a file: its path, or its address without secrets."""
    return shown(file.url) if isinstance(file, RemoteFile) else str(file)


def open_files(files: Sequence[File], *, access: RemoteAccess, downloads: Path) -> Generator[OpenFile, None, None]:
    """File by file, decompressed, and each file of an archive; open until the next is asked for.

    A remote file is downloaded first, if that version of it is not in `downloads`.

    Raises CorpusError that names a file which is damaged, or an archive that is not safe to read; DownloadError.
    """
    for file in files:
        path = fetch(file, access=access, downloads=downloads) if isinstance(file, RemoteFile) else file
        if is_archive(path):
            for member, stream in streams(path):
                yield OpenFile(f"{name_of(file)}: {member.name}", stream)
        else:
            with open_stream(path) as stream:
                yield OpenFile(name_of(file), stream)


def find_files(patterns: Sequence[str], access: RemoteAccess) -> list[File]:
    """The files of names, patterns and addresses, in the order of these, each once.

    Raises CorpusError where there is none, or where it is packed in a way that is not read; DownloadError.
    """
    files: dict[File, None] = {}
    for pattern in patterns:
        found: Sequence[File] = find_remote(pattern, access) if is_remote(pattern) else _local(pattern)
        files |= dict.fromkeys(found)
    for file in files:
        suffix = PurePath(name_of(file)).suffix
        if suffix.lower() in _PACKED_OTHERWISE:
            raise CorpusError(
                f"{name_of(file)}: {suffix} is not read",
                remedy="pack it as .gz, .zst, .zip, .tar, .tar.gz or .tar.zst",
            )
    return list(files)


def _local(pattern: str) -> list[Path]:
    literal = Path(pattern).expanduser()
    # A name that exists is meant as it stands, brackets included.
    found = [literal] if literal.exists() else [Path(name) for name in sorted(glob.glob(str(literal), recursive=True))]
    if literal.is_dir():
        raise CorpusError(f"{pattern}: is a folder", remedy=f"name its files, such as {pattern.rstrip('/')}/*.txt")
    found = [path for path in found if path.is_file()]
    if not found:
        raise CorpusError(f"{pattern}: no such file", remedy=f"correct the path; it is relative to {Path.cwd()}")
    return found


def _pattern(file: File) -> str:
    return file.url if isinstance(file, RemoteFile) else str(file)


def _checksum_of(file: File, checksum: Checksum) -> str:
    if isinstance(file, RemoteFile):
        return sha256_of_text(f"{file.url}\0{file.version}")
    try:
        return checksum(file)
    except OSError as error:
        raise CorpusError(f"{file}: cannot be read ({error.strerror})", remedy="check its permissions") from None
