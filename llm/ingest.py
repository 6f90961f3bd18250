"""From a corpus source to a corpus stage: cleaned records in train, validation and test, and the account of it all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm.cleaning import CleaningConfig, CleaningCounts, clean
from llm.corpora import CORPORA, CorpusConfig
from llm.corpora.base import LABEL, Record
from llm.errors import ConfigError, CorpusError
from llm.progress import track
from llm.splits import SPLITS, SplitConfig, split_of
from llm.stages import Stage, StageSpec, run_stage

_STAGE_VERSION = 2
# Files that an error lists by name.
_NAMED = 3


def corpus_stage(
    config: CorpusConfig,
    cleaning: CleaningConfig,
    splits: SplitConfig,
    *,
    fields: Sequence[str],
    root: Path,
    downloads: Path,
) -> Stage:
    """Read, clean and split a corpus: train.jsonl, validation.jsonl, test.jsonl.

    Each row is {"group": ..., and the `fields`}. Facts: where from and under which terms, records read, repaired,
    dropped by step and kept, and rows, UTF-8 bytes and groups of each split.

    Raises ConfigError when the source lacks one of `fields`; CorpusError when files are missing or unreadable, or when
    the corpus or a split is empty; DownloadError and ChecksumError for archives.
    """
    corpus = CORPORA[config.source]
    _check_fields(config, fields)
    spec = StageSpec(
        name="corpus",
        version=_STAGE_VERSION,
        config={
            "corpus": config.model_dump(mode="json"),
            "reader": corpus.version,
            "cleaning": cleaning.model_dump(mode="json"),
            "splits": splits.model_dump(mode="json"),
            "fields": list(fields),
        },
        inputs=corpus.content(config),
    )

    def build(folder: Path) -> dict[str, Any]:
        counts = CleaningCounts()
        records = track(corpus.records(config, downloads=downloads), label=f"corpus {config.source}")
        kept = clean(_only(fields, records), cleaning, steps=corpus.steps(config), counts=counts)
        sizes = _write(kept, splits, folder=folder)
        _check_not_empty(counts, sizes, source=config.source, files=sorted(corpus.content(config)))
        return {
            "source": config.source,
            "origin": corpus.origin(config),
            "fields": list(fields),
            "read": counts.read,
            "repaired": counts.repaired,
            "dropped": counts.dropped,
            "kept": counts.kept,
            "splits": {split: size.facts for split, size in sizes.items()},
        }

    return run_stage(spec, build, root=root)


@dataclass
class _SplitSize:
    rows: int = 0
    bytes: int = 0
    groups: set[str] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, record: Record) -> None:
        self.rows += 1
        self.bytes += sum(len(text.encode()) for text in record.texts)
        self.groups.add(record.group)
        if LABEL in record.fields:
            self.labels[record.fields[LABEL]] += 1

    @property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"rows": self.rows, "bytes": self.bytes, "groups": len(self.groups)}
        return {**facts, "labels": dict(sorted(self.labels.items()))} if self.labels else facts


def _check_fields(config: CorpusConfig, fields: Sequence[str]) -> None:
    given = CORPORA[config.source].fields(config)
    missing = [name for name in fields if name not in given]
    if missing:
        raise ConfigError(
            f"the corpus {config.source!r} gives {' and '.join(given)}, but {' and '.join(missing)} is needed",
            remedy="choose a corpus made for this family, or name the missing field in corpus.columns",
        )


def _only(fields: Sequence[str], records: Iterable[Record]) -> Iterable[Record]:
    for record in records:
        yield Record(group=record.group, fields={name: record.fields[name] for name in fields})


def _write(records: Iterable[Record], splits: SplitConfig, *, folder: Path) -> dict[str, _SplitSize]:
    sizes: dict[str, _SplitSize] = {split: _SplitSize() for split in SPLITS}
    with ExitStack() as stack:
        files = {
            split: stack.enter_context((folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n"))
            for split in SPLITS
        }
        for record in records:
            split = split_of(record.group, splits)
            row = {"group": record.group, **record.fields}
            files[split].write(json.dumps(row, ensure_ascii=False) + "\n")
            sizes[split].add(record)
    return sizes


def _check_not_empty(
    counts: CleaningCounts, sizes: Mapping[str, _SplitSize], *, source: str, files: Sequence[str]
) -> None:
    if counts.read == 0:
        named = ", ".join(files[:_NAMED]) + (f" and {len(files) - _NAMED} more" if len(files) > _NAMED else "")
        raise CorpusError(
            f"the corpus {source!r} is empty: no record in {named}", remedy="give it files that hold text"
        )
    if counts.kept == 0:
        dropped = ", ".join(f"{name} {count}" for name, count in counts.dropped.items() if count)
        raise CorpusError(
            f"the corpus {source!r} is empty after cleaning: all {counts.read} records were dropped ({dropped})",
            remedy="loosen the bounds in cleaning, or check that corpus.columns names the right columns",
        )
    for split, size in sizes.items():
        if size.rows == 0:
            groups = sum(len(size.groups) for size in sizes.values())
            raise CorpusError(
                f"the {split} split of the corpus {source!r} is empty: "
                f"{counts.kept} records in {groups} groups were kept, and groups are not divided",
                remedy="add data, choose a group column with more values, or change the shares or the salt in splits",
            )
