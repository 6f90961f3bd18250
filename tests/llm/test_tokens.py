"""Token tables: rows in flat arrays, exact on disk, one row a corpus row in every split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llm.errors import StageError
from llm.files import canonical_json, write_jsonl
from llm.splits import SPLITS
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import TextTokenizer, TokenizerConfig, tokenizer_stage, train_tokenizer
from llm.tokens import TokenColumn, TokenTable, rows_of, tokens_stage

ROWS = [[5, 6, 7], [], [8], [9, 10]]


def table() -> TokenTable:
    return TokenTable(
        columns={"text": TokenColumn.of(ROWS), "other": TokenColumn.of([[1], [2], [3], [4, 5]])},
        numbers={"label": np.array([3, 1, 2, 0], dtype=np.int64)},
        facts={"labels": ["de", "en", "fr", "ü"], "count": 4},
    )


def test_rows_are_found_by_their_offsets() -> None:
    column = TokenColumn.of(ROWS)
    assert column.ids.tolist() == [5, 6, 7, 8, 9, 10]
    assert column.offsets.tolist() == [0, 3, 3, 4, 6]
    assert (column.ids.dtype, column.offsets.dtype) == (np.int32, np.int64)
    assert len(column) == 4
    assert [column.row(i).tolist() for i in range(4)] == ROWS
    assert column.lengths.tolist() == [3, 0, 1, 2]


@pytest.mark.parametrize("index", [-1, 4])
def test_a_row_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=f"row {index} of a column of 4 rows"):
        TokenColumn.of(ROWS).row(index)


def test_a_column_of_texts_holds_what_the_tokenizer_gives() -> None:
    tokenizer = TextTokenizer(train_tokenizer(["a b"], TokenizerConfig(vocabulary=260), template="<s> $A </s>"))
    texts = [f"row {i}" for i in range(5000)]
    for special_tokens in (True, False):
        column = TokenColumn.encoded(texts, tokenizer, special_tokens=special_tokens)
        expected = tokenizer.encode_batch(texts, special_tokens=special_tokens)
        assert [column.row(i).tolist() for i in range(len(column))] == expected


@pytest.mark.parametrize("offsets", [[1, 6], [0, 5], [0, 4, 3, 6], [], [0, 7]])
def test_offsets_that_do_not_fit_the_ids_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError, match="offsets must rise from 0"):
        TokenColumn(ids=np.arange(6, dtype=np.int32), offsets=np.array(offsets, dtype=np.int64))


def test_columns_of_unequal_length_are_refused() -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        TokenTable(columns={"a": TokenColumn.of([[1]]), "b": TokenColumn.of([[1], [2]])})


def test_a_slice_holds_its_rows_numbers_and_the_facts() -> None:
    part = table().slice(1, 3)
    assert len(part) == 2
    assert [part.columns["text"].row(i).tolist() for i in range(2)] == [[], [8]]
    assert [part.columns["other"].row(i).tolist() for i in range(2)] == [[2], [3]]
    assert part.numbers["label"].tolist() == [1, 2]
    assert part.facts == table().facts


@pytest.mark.parametrize("rows", [(0, 4), (1, 3), (2, 2)])
def test_saving_and_loading_gives_the_same_table(tmp_path: Path, rows: tuple[int, int]) -> None:
    saved = table().slice(*rows)
    saved.save(tmp_path / "table.safetensors")
    loaded = TokenTable.load(tmp_path / "table.safetensors")
    assert len(loaded) == rows[1] - rows[0]
    assert loaded.facts == saved.facts
    assert set(loaded.columns) == {"text", "other"}
    for name, column in saved.columns.items():
        np.testing.assert_array_equal(loaded.columns[name].ids, column.ids)
        np.testing.assert_array_equal(loaded.columns[name].offsets, column.offsets)
    np.testing.assert_array_equal(loaded.numbers["label"], saved.numbers["label"])


def test_the_same_table_is_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        table().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("damage", [lambda data: data[:-5], lambda data: b"", lambda data: b"x" * len(data)])
def test_a_damaged_file_is_named(tmp_path: Path, damage) -> None:
    path = tmp_path / "table.safetensors"
    table().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StageError, match=r"table\.safetensors: not a readable token table"):
        TokenTable.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"none\.safetensors"):
        TokenTable.load(tmp_path / "none.safetensors")


def row(text: str, label: str) -> dict[str, str]:
    return {"group": "g", "text": text, "label": label}


# The validation split lacks a label, the test split holds one that the others lack.
SPLIT_ROWS = {
    "train": [row("eins", "de"), row("one", "en"), row("line\u2028two", "en")],
    "validation": [row("two", "en")],
    "test": [row("trois", "fr"), row("drei", "de")],
}


@pytest.fixture
def stages(tmp_path: Path) -> tuple[Stage, Stage]:
    def build(folder: Path) -> dict:
        return {split: write_jsonl(folder / f"{split}.jsonl", rows) for split, rows in SPLIT_ROWS.items()}

    spec = StageSpec(name="corpus", version=1, config={"rows": canonical_json(SPLIT_ROWS)}, inputs={})
    corpus = run_stage(spec, build, root=tmp_path)
    config = TokenizerConfig(vocabulary=260)
    return corpus, tokenizer_stage(corpus, config, fields=("text",), template="<s> $A </s>", root=tmp_path)


def tokenize(rows: Sequence[dict[str, str]], tokenizer: TextTokenizer) -> TokenTable:
    labels = sorted({row["label"] for row in rows})
    return TokenTable(
        columns={"text": TokenColumn.encoded([row["text"] for row in rows], tokenizer)},
        numbers={"label": np.array([labels.index(row["label"]) for row in rows], dtype=np.int64)},
        facts={"labels": labels},
    )


def test_rows_of_a_split_are_read_in_order(stages: tuple[Stage, Stage]) -> None:
    for split in SPLITS:
        assert rows_of(stages[0].path, split) == SPLIT_ROWS[split]


def test_the_stage_writes_a_table_a_split_with_the_same_facts(stages: tuple[Stage, Stage], tmp_path: Path) -> None:
    stage = tokens_stage(*stages, tokenize=tokenize, family="classification", root=tmp_path)
    tokenizer = TextTokenizer.load(stages[1].path)
    for split in SPLITS:
        loaded = TokenTable.load(stage.path / f"{split}.safetensors")
        assert loaded.facts == {"labels": ["de", "en", "fr"]}
        texts = [tokenizer.decode(loaded.columns["text"].row(i).tolist()) for i in range(len(loaded))]
        assert texts == [row["text"] for row in SPLIT_ROWS[split]]
        labels = [loaded.facts["labels"][number] for number in loaded.numbers["label"]]
        assert labels == [row["label"] for row in SPLIT_ROWS[split]]
    # "two" is three bytes within <s> and </s>.
    assert stage.facts["splits"]["validation"] == {"rows": 1, "tokens": {"text": 5}, "longest": {"text": 5}}


def test_the_manifest_names_the_corpus_and_the_tokenizer(stages: tuple[Stage, Stage], tmp_path: Path) -> None:
    stage = tokens_stage(*stages, tokenize=tokenize, family="classification", root=tmp_path)
    manifest = json.loads((stage.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"] == {"corpus": stages[0].key, "tokenizer": stages[1].key}


def test_a_family_that_loses_rows_is_refused(stages: tuple[Stage, Stage], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="made 5 table rows of 6 corpus rows"):
        tokens_stage(*stages, tokenize=lambda rows, t: tokenize(rows[1:], t), family="broken", root=tmp_path)
