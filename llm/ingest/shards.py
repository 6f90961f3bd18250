"""One part of a source, such as a file, read and cleaned by itself: a nightly run does so for what is new or changed.

A shard is a stage folder: `rows.jsonl` with a line for each record as the corpus will hold it, `rows.safetensors` with
what decides about records without reading them again, `signatures.u16` with a MinHash signature of each where near
duplicates are looked for, and `quarantine.jsonl.gz`. N: records of the shard.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import safetensors.numpy
import xxhash
from numpy.typing import NDArray

from llm.cleaning.account import Account, quarantine_file
from llm.cleaning.config import CleaningConfig
from llm.cleaning.pipeline import clean
from llm.corpora import CORPORA, CorpusConfig
from llm.corpora.base import LABEL, Checksum, Record, Step, Unreadable, each
from llm.corpora.local_files import LocalFiles
from llm.ingest.contamination import KeptOut, kept_out_texts
from llm.near_duplicates import PERMUTATIONS, SignatureFile, Signatures, signatures
from llm.progress import track
from llm.splits import group_place
from llm.stages import Stage, StageSpec, run_stage

ROWS = "rows.jsonl"
QUARANTINE = "quarantine.jsonl.gz"
_INDEX = "rows.safetensors"
_SIGNATURES = "signatures.u16"
# Texts whose signatures are computed at once.
_BATCH = 1_000
_STAGE_VERSION = 1
# Options that only the selection over all shards reads.
_LATER = {"maximum_bad_share", "maximum_conflicting_share", "maximum_records", "leaks", "near_duplicates"}
# Each number that is kept of a row: its name, its kind for `struct`, and for numpy.
_COLUMNS = (
    ("record", "Q", np.uint64),  # hash of all fields
    ("text", "Q", np.uint64),  # hash of the texts, without case and spaces
    ("group", "Q", np.uint64),  # hash of the group
    ("place", "d", np.float64),  # of the group, in [0, 1): see llm.splits
    ("bytes", "Q", np.uint64),  # of the texts, in UTF-8
    ("label", "q", np.int64),  # number in the shard's facts, or -1
    ("origin", "q", np.int64),  # number in the shard's facts
    ("position", "q", np.int64),  # line, row or number in the origin
)
_NUMBERS = struct.Struct("<" + "".join(kind for _, kind, _ in _COLUMNS))
_NUMPY = np.dtype([(name, kind) for name, _, kind in _COLUMNS])
_SPACES = b" \t\n"


@dataclass(frozen=True, eq=False)
class Index:
    """What is known of N records: (N,) arrays by the names of `_COLUMNS`, and the names behind their numbers."""

    arrays: Mapping[str, NDArray[Any]]
    labels: tuple[str, ...]
    origins: tuple[str, ...]
    signatures: Signatures | None = None

    def __len__(self) -> int:
        return len(self.arrays["record"])

    def where(self, row: int) -> str:
        """Origin and position of a record."""
        return f"{self.origins[self.arrays['origin'][row]]}, {self.arrays['position'][row]}"


def shard_spec(
    config: CorpusConfig,
    cleaning: CleaningConfig,
    *,
    fields: Sequence[str],
    salt: str,
    checksum: Checksum,
) -> StageSpec:
    """What identifies the shard of a part: its content, how it is read and cleaned, and how groups are placed.

    Raises CorpusError when a file is missing or cannot be read.
    """
    corpus = CORPORA[config.source]
    return StageSpec(
        name="shard",
        version=_STAGE_VERSION,
        config={
            "corpus": config.model_dump(mode="json"),
            "reader": corpus.version,
            "cleaning": cleaning.model_dump(mode="json", exclude=_LATER),
            "signatures": cleaning.near_duplicates is not None,
            "fields": list(fields),
            "salt": salt,
        },
        inputs=corpus.content(config, checksum=checksum)
        | {
            f"kept out: {name}": found
            for other in cleaning.keep_out
            for name, found in LocalFiles().content(other, checksum=checksum).items()
        },
    )


def shard_stage(
    spec: StageSpec,
    config: CorpusConfig,
    cleaning: CleaningConfig,
    *,
    fields: Sequence[str],
    salt: str,
    name: str,
    root: Path,
    downloads: Path,
) -> Stage:
    """The shard of the part `name`, which `spec` identifies; read and cleaned if it is not there.

    Raises CorpusError, DownloadError and ChecksumError, as the source does.
    """

    def build(folder: Path) -> dict[str, Any]:
        return _build(folder, config, cleaning, fields=fields, salt=salt, name=name, downloads=downloads)

    return run_stage(spec, build, root=root)


def _build(
    folder: Path,
    config: CorpusConfig,
    cleaning: CleaningConfig,
    *,
    fields: Sequence[str],
    salt: str,
    name: str,
    downloads: Path,
) -> dict[str, Any]:
    """Read and clean a part into `folder`; returns its account, labels and origins."""
    corpus = CORPORA[config.source]
    items = track(corpus.records(config, downloads=downloads), label=f"reading {name}")
    with quarantine_file(folder / QUARANTINE) as quarantine:
        account = Account(quarantine)
        steps = {**corpus.steps(config), **_keep_out(cleaning, downloads)}
        kept = clean(_only(tuple(fields), items), cleaning, steps=steps, account=account)
        with _signed(kept, folder, wanted=cleaning.near_duplicates is not None) as records:
            index = _write_rows(records, folder, salt=salt)
    safetensors.numpy.save_file(dict(index.arrays), folder / _INDEX)
    return {**account.facts, "labels": list(index.labels), "origins": list(index.origins)}


def read_index(shards: Sequence[Stage]) -> Index:
    """The indices of all shards, one behind the other."""
    labels: dict[str, int] = {}
    origins: list[str] = []
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name, _, _ in _COLUMNS}
    for shard in shards:
        arrays = safetensors.numpy.load_file(shard.path / _INDEX)
        numbers = [labels.setdefault(label, len(labels)) for label in shard.facts["labels"]]
        arrays["label"] = np.array([*numbers, -1], dtype=np.int64)[arrays["label"]]
        arrays["origin"] = arrays["origin"] + len(origins)
        origins.extend(shard.facts["origins"])
        for name, values in arrays.items():
            columns[name].append(values)
    joined = {name: np.concatenate([*columns[name], np.empty(0, kind)]) for name, _, kind in _COLUMNS}
    return Index(joined, tuple(labels), tuple(origins))


@contextmanager
def joined_signatures(shards: Sequence[Stage], folder: Path) -> Iterator[Signatures | None]:
    """(N, PERMUTATIONS) signatures of all shards on disk, in `folder` while they are used; None: they have none."""
    if not all((shard.path / _SIGNATURES).exists() for shard in shards):
        yield None
        return
    with SignatureFile(folder) as file:
        for shard in shards:
            values = np.fromfile(shard.path / _SIGNATURES, dtype=np.uint16)
            file.append(values.reshape(-1, PERMUTATIONS))
        yield file.array()


def read_rows(shards: Sequence[Stage]) -> Iterator[bytes]:
    """The lines of all shards, in the order of `read_index`, each with its end."""
    for shard in shards:
        with (shard.path / ROWS).open("rb") as file:
            yield from file


def _keep_out(cleaning: CleaningConfig, downloads: Path) -> dict[str, Step]:
    if not cleaning.keep_out:
        return {}
    return {"kept_out": each(KeptOut(kept_out_texts(cleaning.keep_out, downloads=downloads)).reason)}


def _only(fields: tuple[str, ...], items: Iterable[Record | Unreadable]) -> Iterator[Record | Unreadable]:
    for item in items:
        if isinstance(item, Unreadable) or tuple(item.fields) == fields:
            yield item
        else:
            chosen = {name: item.fields[name] for name in fields}
            yield Record(item.group, chosen, item.origin, item.position)


@contextmanager
def _signed(records: Iterator[Record], folder: Path, *, wanted: bool) -> Iterator[Iterator[Record]]:
    """The same records, whose signatures are written as they pass, if that is `wanted`."""
    if not wanted:
        yield records
        return

    with (folder / _SIGNATURES).open("wb") as file:

        def passing() -> Iterator[Record]:
            while batch := list(islice(records, _BATCH)):
                file.write(signatures(["\n".join(record.texts) for record in batch]).data)
                yield from batch

        yield passing()


def _write_rows(records: Iterable[Record], folder: Path, *, salt: str) -> Index:
    packed = bytearray()
    labels: dict[str, int] = {}
    origins: dict[str, int] = {}
    with (folder / ROWS).open("wb") as file:
        for record in records:
            fields, group = record.fields, record.group or ""
            file.write(orjson.dumps({"group": group, **fields}, option=orjson.OPT_APPEND_NEWLINE))
            text = "\0".join(record.texts)
            label = fields.get(LABEL)
            packed += _NUMBERS.pack(
                _hash("\0".join(fields.values()).encode()),
                _hash(text.casefold().encode().translate(None, _SPACES)),
                _hash(group.encode()),
                group_place(group, salt),
                len(text if text.isascii() else text.encode()) - text.count("\0"),
                -1 if label is None else labels.setdefault(label, len(labels)),
                origins.setdefault(record.origin, len(origins)),
                record.position,
            )
    numbers = np.frombuffer(packed, dtype=_NUMPY)
    arrays = {name: np.ascontiguousarray(numbers[name]) for name, _, _ in _COLUMNS}
    return Index(arrays, tuple(labels), tuple(origins))


def _hash(data: bytes) -> int:
    # 64 bits: among ten million different texts, two alike have a chance of three in a million.
    return xxhash.xxh3_64_intdigest(data)
