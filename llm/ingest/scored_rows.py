"""A corpus of which every record is a test row: what a finished model is scored on, and never trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llm.checksums import ChecksumCache
from llm.cleaning.account import Account, quarantine_file, too_much_bad
from llm.cleaning.config import CleaningConfig
from llm.cleaning.pipeline import clean
from llm.corpora import CORPORA, CorpusConfig
from llm.errors import CorpusError
from llm.files import write_jsonl
from llm.ingest.corpus import check_fields
from llm.ingest.shards import QUARANTINE
from llm.stages import Stage, StageSpec, run_stage

_STAGE_VERSION = 1


def scored_rows_stage(config: CorpusConfig, *, fields: Sequence[str], root: Path, downloads: Path) -> Stage:
    """Read a corpus into one split: test.jsonl, and quarantine.jsonl.gz for what is no record or has no text.

    Texts are repaired as in a training; duplicates stay, since they count.

    Facts: `source`, `origin`, the account (read, kept, bad, dropped by step), and `rows` of the split.

    Raises ConfigError when the source lacks one of `fields`; CorpusError when files are missing or unreadable, when too
    much is bad, or when nothing is left; DownloadError and ChecksumError for archives.
    """
    corpus, cleaning = CORPORA[config.source], CleaningConfig()
    check_fields(config, fields)
    checksums = ChecksumCache(root / "checksums.json")
    spec = StageSpec(
        name="scored-rows",
        version=_STAGE_VERSION,
        config={
            "corpus": config.model_dump(mode="json"),
            "reader": corpus.version,
            "cleaning": cleaning.model_dump(mode="json"),
            "fields": list(fields),
        },
        inputs=corpus.content(config, checksum=checksums.of),
    )
    checksums.save()

    def build(folder: Path) -> dict[str, Any]:
        with quarantine_file(folder / QUARANTINE) as quarantine:
            account = Account(quarantine)
            items = corpus.records(config, downloads=downloads)
            batches = clean(items, cleaning, steps=corpus.steps(config), account=account)

            def rows() -> Iterator[dict[str, Any]]:
                for batch in batches:
                    for record in batch:
                        yield {"group": record.group, **{name: record.fields[name] for name in fields}}

            count = write_jsonl(folder / "test.jsonl", rows())
        _check(account, config, most_bad=cleaning.maximum_bad_share)
        return {"source": config.source, "origin": corpus.origin(config), **account.facts, "rows": count}

    return run_stage(spec, build, root=root)


def _check(account: Account, config: CorpusConfig, *, most_bad: float) -> None:
    if account.bad > most_bad * account.read:
        raise too_much_bad(account.facts, most=most_bad)
    if account.kept == 0:
        dropped = ", ".join(f"{name} {count}" for name, count in account.dropped.items() if count) or "none"
        raise CorpusError(
            f"{config.source}: {account.read} records were read, and none is left to score (dropped: {dropped})",
            remedy="check the columns and the texts: nightshift inspect shows what is dropped and why",
        )
