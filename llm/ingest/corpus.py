"""From a corpus source to a corpus stage: cleaned records in train, validation and test, and the account of it all."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from llm.checksums import ChecksumCache
from llm.cleaning.account import quarantine_file, too_much_bad
from llm.cleaning.config import CleaningConfig
from llm.corpora import CORPORA, CorpusConfig
from llm.errors import ConfigError, CorpusError, StageError
from llm.ingest.index import Index
from llm.ingest.selection import REASONS, STEPS, Selection, select
from llm.ingest.shards import QUARANTINE, joined_signatures, shard_spec, shard_stage
from llm.ingest.workers import read_parts
from llm.processes import cores
from llm.splits import SPLITS, SplitConfig
from llm.stages import MANIFEST, Stage, StageSpec, run_stage

log = logging.getLogger(__name__)

_STAGE_VERSION = 3
# Bytes for which it is worth to start a process: half a second's reading.
_WORTH_A_PROCESS = 8_000_000
# Files or labels that an error lists by name.
_NAMED = 3


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
    _check_fields(config, fields)
    checksums = ChecksumCache(root / "checksums.json")
    parts = corpus.parts(config, pieces=checksums.pieces)

    def identified(part: CorpusConfig) -> StageSpec:
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

    def build(folder: Path) -> dict[str, Any]:
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
        return _join(shards, folder, source=config.source, files=list(specs), cleaning=cleaning, splits=splits) | {
            "source": config.source,
            "origin": corpus.origin(config),
            "fields": list(fields),
        }

    return run_stage(spec, build, root=root)


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


def _check_fields(config: CorpusConfig, fields: Sequence[str]) -> None:
    given = CORPORA[config.source].fields(config)
    missing = [name for name in fields if name not in given]
    if missing:
        raise ConfigError(
            f"the corpus {config.source!r} gives {' and '.join(given)}, but {' and '.join(missing)} is needed",
            remedy="choose a corpus made for this family, or name the missing field in corpus.columns",
        )


def _join(
    shards: Sequence[Stage],
    folder: Path,
    *,
    source: str,
    files: Sequence[str],
    cleaning: CleaningConfig,
    splits: SplitConfig,
) -> dict[str, Any]:
    """Choose among the records of all shards, write the splits and the quarantine; returns the facts."""
    account = _total([shard.facts for shard in shards])
    _check_account(account, cleaning, source=source, files=files)
    with joined_signatures(shards, folder) as signatures:
        index = Index(shards)
        selection = select(index, cleaning, splits, signatures=signatures)
    _write(shards, index, selection, folder)
    account["kept"] = int(selection.kept.sum())
    account["dropped"] |= {name: int((selection.step == number).sum()) for number, name in enumerate(STEPS)}
    sizes = _sizes(index, selection)
    _check_splits(account, sizes, source=source)
    _check_classes(sizes, index.labels, cleaning, source=source)
    return {**account, "splits": sizes}


def _total(accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The accounts of all shards, added up; of examples, the first."""
    total: dict[str, Any] = {name: sum(account[name] for account in accounts) for name in ("read", "kept", "bad")}
    for name in ("repaired", "dropped"):
        counts: Counter[str] = Counter()
        for account in accounts:
            counts.update(account[name])
        total[name] = dict(counts)
    total["examples"] = {
        step: example for account in reversed(accounts) for step, example in account["examples"].items()
    }
    return total


def _write(shards: Sequence[Stage], index: Index, selection: Selection, folder: Path) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context((folder / f"{split}.jsonl").open("wb")) for split in SPLITS]
        earlier = [shard.path / QUARANTINE for shard in shards]
        quarantine = stack.enter_context(quarantine_file(folder / QUARANTINE, after=earlier))
        start = 0
        for lines in index.lines():
            rows = slice(start, start + len(lines))
            split = np.where(selection.kept[rows], selection.split[rows], -1)
            for number, file in enumerate(files):
                file.write(b"".join(compress(lines, (split == number).tolist())))
            for row in np.flatnonzero(split < 0).tolist():
                quarantine(_dropped(lines[row], start + row, index, selection))
            start += len(lines)
    if start != len(index):
        raise StageError(
            f"the shards of the corpus hold {start:,} rows, but numbers of {len(index):,}",
            remedy=f"delete {shards[0].path.parent} and run again: it will be built anew",
        )


def _dropped(line: bytes, row: int, index: Index, selection: Selection) -> dict[str, Any]:
    """What the quarantine says of a record that is only wrong among others."""
    name, other = list(STEPS)[selection.step[row]], int(selection.other[row])
    origin, position = index.place_of(row)
    fields = orjson.loads(line)
    del fields["group"]
    return {
        "source": origin,
        "position": position,
        "offset": None,
        "step": name,
        "reason": REASONS[name].format(other=index.where(other) if other >= 0 else ""),
        "record": fields,
    }


def _sizes(index: Index, selection: Selection) -> dict[str, dict[str, Any]]:
    """Rows, bytes, groups, lengths and labels of each split."""
    split = np.where(selection.kept, selection.split, -1)
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(SPLITS):
        rows = np.flatnonzero(split == number)
        sizes = index.column("bytes")[rows]
        found[name] = {
            "rows": int(rows.size),
            "bytes": int(sizes.sum()),
            "groups": int(np.unique(index.column("group")[rows]).size),
            "lengths": _lengths(sizes),
        }
        counts = np.bincount(index.label_numbers()[rows] + 1)[1:] if index.labels else ()
        labels = {label: int(count) for label, count in zip(index.labels, counts, strict=False) if count}
        if labels:
            found[name]["labels"] = dict(sorted(labels.items()))
    return found


def _lengths(sizes: NDArray[np.int64]) -> list[int]:
    """How many records have 1, 2 to 3, 4 to 7, ... bytes: a bin for each power of two, up to the last that has any."""
    counts: list[int] = np.bincount(np.frexp(sizes.astype(np.float64))[1]).tolist()
    return counts[1:]


def _check_account(account: Mapping[str, Any], cleaning: CleaningConfig, *, source: str, files: Sequence[str]) -> None:
    if account["read"] == account["dropped"].get("empty_file", 0):
        raise CorpusError(
            f"the corpus {source!r} is empty: no record in {_named(files)}", remedy="give it files that hold text"
        )
    if account["bad"] > cleaning.maximum_bad_share * account["read"]:
        raise too_much_bad(account, most=cleaning.maximum_bad_share)


def _check_splits(account: Mapping[str, Any], sizes: Mapping[str, Mapping[str, Any]], *, source: str) -> None:
    if account["kept"] == 0:
        dropped = ", ".join(f"{name} {count}" for name, count in account["dropped"].items() if count)
        raise CorpusError(
            f"the corpus {source!r} is empty after cleaning: all {account['read']} records were dropped ({dropped})",
            remedy="loosen the bounds in cleaning, or check that corpus.columns names the right columns",
        )
    for split, size in sizes.items():
        if size["rows"] == 0:
            groups = sum(size["groups"] for size in sizes.values())
            raise CorpusError(
                f"the {split} split of the corpus {source!r} is empty: "
                f"{account['kept']} records in {groups} groups were kept, and groups are not divided",
                remedy="add data, choose a group column with more values, or change the shares or the salt in splits",
            )


def _check_classes(
    sizes: Mapping[str, Mapping[str, Any]], labels: Sequence[str], cleaning: CleaningConfig, *, source: str
) -> None:
    if not labels:
        return
    wanted = dict.fromkeys((*cleaning.labels, *sorted(labels)))
    if len(wanted) == 1:
        raise CorpusError(
            f"one class: every record of the corpus {source!r} has the label {next(iter(wanted))!r}",
            remedy="add records of other classes, or check that corpus.columns names the right column",
        )
    empty = [repr(label) for label in wanted if label not in sizes["train"].get("labels", {})]
    if empty:
        raise CorpusError(
            f"empty class: the train split of the corpus {source!r} holds no record with the label {_named(empty)}",
            remedy="add records, leave the class out, or change the salt in splits",
        )


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
