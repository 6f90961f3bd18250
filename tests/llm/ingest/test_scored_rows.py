"""A file as one test split: everything that is a record, and an account of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm.corpora.local_files import LocalFilesConfig
from llm.errors import ConfigError, CorpusError
from llm.ingest.scored_rows import scored_rows_stage
from llm.stages import Stage
from llm.tokens import rows_of


def stage(path: Path, root: Path, **columns: str) -> Stage:
    config = LocalFilesConfig(format="jsonl", paths=(str(path),), columns=columns or {"text": "t", "label": "l"})
    return scored_rows_stage(config, fields=("text", "label"), root=root, downloads=root)


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_records_are_test_rows_and_duplicates_stay(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"t": f"apple {n // 2}", "l": "fruit"} for n in range(300)])
    found = stage(path, tmp_path)
    rows = rows_of(found.path, "test")
    assert [row["text"] for row in rows] == [f"apple {n // 2}" for n in range(300)]
    assert {row["label"] for row in rows} == {"fruit"}
    assert (found.facts["rows"], found.facts["read"]) == (300, 300)
    assert stage(path, tmp_path).reused
    write(path, [{"t": "apple", "l": "fruit"}])
    assert stage(path, tmp_path).facts["rows"] == 1


def test_what_cannot_be_scored_is_told(tmp_path):
    with pytest.raises(CorpusError, match="2 of 2 records are bad"):
        stage(write(tmp_path / "bad.jsonl", [{"t": "apple"}, {"t": "pear"}]), tmp_path)
    with pytest.raises(CorpusError, match=r"1 records were read, and none is left to score \(dropped: blank 1\)"):
        stage(write(tmp_path / "empty.jsonl", [{"t": " ", "l": "fruit"}]), tmp_path)
    with pytest.raises(ConfigError, match="label is needed"):
        stage(write(tmp_path / "rows.jsonl", [{"t": "apple", "l": "fruit"}]), tmp_path, text="t")
