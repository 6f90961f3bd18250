"""One part of a source, such as a file, read and cleaned by itself: a nightly run does so for what is new or changed.

A shard is a stage folder: `rows.jsonl` with a line for each record as the corpus will hold it, `rows.safetensors` with
what decides about records without reading them again, `signatures.u16` with a MinHash signature of each where near
duplicates are looked for, and `quarantine.jsonl.gz`. N: records of the shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from llm.cleaning.account import Account, quarantine_file
from llm.cleaning.config import CleaningConfig
from llm.cleaning.pipeline import clean
from llm.corpora import CORPORA, CorpusConfig
from llm.corpora.base import Checksum, Record, Step, Unreadable
from llm.corpora.local_files import LocalFiles
from llm.ingest.contamination import KeptOut, kept_out_texts
from llm.ingest.index import ShardWriter
from llm.near_duplicates import PERMUTATIONS, SignatureFile, Signatures, signatures
from llm.progress import track
from llm.stages import Stage, StageSpec, run_stage

QUARANTINE = "quarantine.jsonl.gz"
_SIGNATURES = "signatures.u16"
_STAGE_VERSION = 3
# Options that only the selection over all shards reads.
_LATER = {"maximum_bad_share", "maximum_conflicting_share", "maximum_records", "leaks", "near_duplicates", "overlaps"}


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
            "fingerprints": cleaning.overlaps == "remove",
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
        chosen = items if corpus.fields(config) == tuple(fields) else _only(tuple(fields), items)
        kept = clean(chosen, cleaning, steps=steps, account=account)
        fingerprinted = cleaning.overlaps == "remove"
        with ShardWriter(folder, fields=fields, salt=salt, fingerprinted=fingerprinted) as index:
            _write_rows(kept, folder, index, signed=cleaning.near_duplicates is not None)
            index.save()
    return {**account.facts, "labels": list(index.labels), "origins": list(index.origins)}


def _write_rows(batches: Iterable[list[Record]], folder: Path, index: ShardWriter, *, signed: bool) -> None:
    with ExitStack() as stack:
        signature_file = stack.enter_context((folder / _SIGNATURES).open("wb")) if signed else None
        for batch in batches:
            index.add(batch)
            if signature_file is not None:
                signature_file.write(signatures(["\n".join(record.texts) for record in batch]).data)


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


def _keep_out(cleaning: CleaningConfig, downloads: Path) -> dict[str, Step]:
    if not cleaning.keep_out:
        return {}
    return {"kept_out": KeptOut(kept_out_texts(cleaning.keep_out, downloads=downloads)).step}


def _only(fields: tuple[str, ...], items: Iterable[Record | Unreadable]) -> Iterator[Record | Unreadable]:
    for item in items:
        if isinstance(item, Unreadable) or tuple(item.fields) == fields:
            yield item
        else:
            chosen = {name: item.fields[name] for name in fields}
            yield Record(item.group, chosen, item.origin, item.position)
