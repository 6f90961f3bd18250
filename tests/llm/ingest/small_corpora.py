"""Small corpora of rows with an author each, for tests of ingestion."""

from __future__ import annotations

import json
from pathlib import Path

from llm.cleaning.config import CleaningConfig
from llm.corpora.local_files import LocalFilesConfig
from llm.ingest.corpus import corpus_stage
from llm.splits import SplitConfig
from llm.stages import Stage

HALVES = SplitConfig(validation=0.3, test=0.3)


def topics(folder: Path, rows: list[dict[str, object]]) -> LocalFilesConfig:
    path = folder / "topics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    columns = {"text": "body", "label": "topic"}
    return LocalFilesConfig(format="jsonl", paths=(str(path),), columns=columns, group_column="author", terms="ours")


def ingest(config, folder: Path, *, fields=("text", "label"), cleaning=None, splits=HALVES) -> Stage:
    return corpus_stage(
        config,
        cleaning or CleaningConfig(),
        splits,
        fields=fields,
        root=folder / "stages",
        downloads=folder / "downloads",
    )


def row(number: int, **changes: object) -> dict[str, object]:
    return {"body": f"Grüße {number}", "topic": f"t{number % 2}", "author": f"author {number % 20}", **changes}
