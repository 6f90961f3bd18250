"""Small corpora on disk, laid out as the corpus and tokens stages lay them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.baselines.base import BaselineData
from llm.files import write_jsonl
from llm.stages import Stage, StageSpec, run_stage
from llm.tokens import TokenColumn, TokenTable


@pytest.fixture
def make_data(tmp_path: Path):
    """Write splits of rows, and tokens when given, and return them as BaselineData."""

    def make(splits, *, tokens=None) -> BaselineData:
        for name, rows in splits.items():
            write_jsonl(tmp_path / f"{name}.jsonl", rows)
        for name, ids in (tokens or {}).items():
            TokenTable(columns={"text": TokenColumn.of(ids)}).save(tmp_path / f"{name}.safetensors")
        return BaselineData(corpus=tmp_path, tokens=tmp_path)

    return make


@pytest.fixture
def make_stage(tmp_path: Path):
    """A finished stage that holds one JSON-lines file a split."""

    def make(name: str, splits) -> Stage:
        def build(folder: Path):
            for split, rows in splits.items():
                write_jsonl(folder / f"{split}.jsonl", rows)
            return {}

        return run_stage(StageSpec(name=name, version=1, config={}, inputs={}), build, root=tmp_path / "stages")

    return make
