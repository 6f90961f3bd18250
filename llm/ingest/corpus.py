"""From a corpus source to a corpus stage: cleaned records in train, validation and test, and the account of it all."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.checksums import ChecksumCache
from llm.cleaning.config import CleaningConfig
from llm.corpora import CORPORA, CorpusConfig
from llm.corpora.base import SourceConfig
from llm.errors import ConfigError
from llm.ingest.join import join_shards
from llm.ingest.shards import shard_spec, shard_stage
from llm.ingest.workers import read_parts
from llm.processes import cores
from llm.splits import SplitConfig
from llm.stages import MANIFEST, Built, Stage, StageSpec, run_stage

log = logging.getLogger(__name__)

_STAGE_VERSION = 4
# Bytes for which it is worth to start a process: half a second's reading.
_WORTH_A_PROCESS = 8_000_000


@dataclass(frozen=True)
class CorpusPlan:
    """What a corpus will be read from: `parts` of the source by name, and what identifies each and the whole."""

    spec: StageSpec
    parts: Mapping[str, SourceConfig]
    shards: Mapping[str, StageSpec]


def plan_corpus(
    config: CorpusConfig, cleaning: CleaningConfig, splits: SplitConfig, *, fields: Sequence[str], root: Path
) -> CorpusPlan:
    """Find the parts of a source and their checksums; nothing is read of what has not changed since they were taken.

    Raises ConfigError and CorpusError, as `corpus_stage` does.
    """
    corpus = CORPORA[config.source]
    check_fields(config, fields)
    checksums = ChecksumCache(root / "checksums.json")
    parts = corpus.parts(config, pieces=checksums.pieces)

    def identified(part: SourceConfig) -> StageSpec:
        return shard_spec(part, cleaning, fields=fields, salt=splits.salt, checksum=checksums.of)

    # Hashing lets other threads run.
    with ThreadPoolExecutor(cores()) as threads:
        specs = dict(zip(parts, threads.map(identified, parts.values()), strict=True))
    checksums.save()
    spec = StageSpec(
        name="corpus",
        version=_STAGE_VERSION,
        config={
            "corpus": config.model_dump(mode="json"),
            "cleaning": cleaning.model_dump(mode="json"),
            "splits": splits.model_dump(mode="json"),
            "fields": list(fields),
        },
        inputs={name: part.key for name, part in specs.items()},
    )
    return CorpusPlan(spec, parts, specs)


def corpus_stage(
    config: CorpusConfig,
    cleaning: CleaningConfig,
    splits: SplitConfig,
    *,
    fields: Sequence[str],
    root: Path,
    downloads: Path,
    workers: int | None = None,
) -> Stage:
    """Read, clean and split a corpus: train.jsonl, validation.jsonl, test.jsonl, quarantine.jsonl.gz.

    New parts are read by so many `workers` at once (None: one a core) where there is enough to read. Each row is
    {"group": ..., and the `fields`}. A part of the source (a file) that was read before is not read again.
    Facts: where from and under which terms, records read, repaired, bad, dropped by step and kept, and rows, UTF-8
    bytes and groups of each split.

    Raises ConfigError when the source lacks one of `fields`; CorpusError when files are missing or unreadable, when too
    much is bad, or when the corpus, a split or a class is empty; DownloadError and ChecksumError for archives.
    """
    corpus = CORPORA[config.source]
    plan = plan_corpus(config, cleaning, splits, fields=fields, root=root)
    specs, parts = plan.shards, plan.parts

    def build(folder: Path) -> Built:
        options: Any = {"fields": fields, "salt": splits.salt, "root": root, "downloads": downloads}
        new = _missing(specs, root)
        log.info("%d of %d parts of the corpus are new or changed", len(new), len(specs))
        sizes = {name: corpus.size(parts[name]) for name in new}
        shares = _shares(sizes, most=min(len(new), workers or cores()))
        if len(shares) > 1:
            with tempfile.TemporaryDirectory() as messages:
                chosen = [{name: parts[name] for name in share} for share in shares]

                def done() -> int:
                    return len(new) - len(_missing(specs, root))

                read_parts(chosen, cleaning, folder=Path(messages), done=done, **options)
        # Those that were not worth a process are read here.
        shards = [shard_stage(specs[name], part, cleaning, name=name, **options) for name, part in parts.items()]
        joined = join_shards(
            shards, folder, source=config.source, fields=fields, files=list(specs), cleaning=cleaning, splits=splits
        )
        facts = {"source": config.source, "origin": corpus.origin(config), "fields": list(fields)}
        return Built({**facts, **joined.facts}, joined.sums)

    return run_stage(plan.spec, build, root=root)


def _missing(specs: Mapping[str, StageSpec], root: Path) -> list[str]:
    return [name for name, spec in specs.items() if not (root / spec.name / spec.key / MANIFEST).exists()]


def _shares(sizes: Mapping[str, int], *, most: int) -> list[list[str]]:
    """The names of `sizes` (bytes) in at most `most` shares of about the same size; one where two are not worth it."""
    total = sum(sizes.values())
    count = max(1, min(most, total // _WORTH_A_PROCESS))
    shares: list[list[str]] = [[] for _ in range(count)]
    filled = [0] * count
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        smallest = filled.index(min(filled))
        shares[smallest].append(name)
        filled[smallest] += sizes[name]
    return shares


def check_fields(config: CorpusConfig, fields: Sequence[str]) -> None:
    """Raises ConfigError when a source does not give all of `fields`."""
    given = CORPORA[config.source].fields(config)
    missing = [name for name in fields if name not in given]
    if missing:
        raise ConfigError(
            f"the corpus {config.source!r} gives {' and '.join(given)}, but {' and '.join(missing)} is needed",
            remedy="choose a corpus made for this family, or name the missing field in corpus.columns",
        )
