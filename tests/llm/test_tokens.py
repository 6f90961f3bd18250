"""Token tables: rows in flat arrays, exact on disk, one row a corpus row in every split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from llm import tokens
from llm.errors import StageError
from llm.families import FAMILIES, load_family
from llm.files import canonical_json, read_jsonl, write_jsonl
from llm.splits import SPLITS
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, tokenizer_stage, train_tokenizer
from llm.tokens import Survey, TableWriter, TokenColumn, TokenTable, rows_of, tokens_stage

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


def test_a_closed_column_has_one_more_token_in_every_row() -> None:
    closed = TokenColumn.of(ROWS).closed(2)
    assert [closed.row(i).tolist() for i in range(4)] == [[*row, 2] for row in ROWS]


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


@pytest.mark.parametrize("cuts", [[0, 4], [0, 1, 4], [0, 0, 2, 3, 4], [0, 1, 2, 3, 4, 4]])
def test_rows_added_in_batches_are_the_same_file_as_rows_added_at_once(tmp_path: Path, cuts: list[int]) -> None:
    whole = table()
    whole.save(tmp_path / "whole")
    with TableWriter(tmp_path / "batches") as writer:
        for start, stop in pairwise(cuts):
            writer.add(whole.slice(start, stop))
        writer.save(Survey(facts=whole.facts))
    assert (tmp_path / "batches").read_bytes() == (tmp_path / "whole").read_bytes()
    assert writer.sizes == {"rows": 4, "tokens": {"text": 6, "other": 5}, "longest": {"text": 3, "other": 2}}


def test_a_loaded_table_is_a_map_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "table.safetensors"
    table().save(path)
    loaded = TokenTable.load(path)
    content = bytearray(path.read_bytes())
    place = content.index(np.array([5, 6, 7, 8], dtype=np.int32).tobytes())
    with path.open("r+b") as file:
        file.seek(place)
        file.write(np.int32(77).tobytes())
    # Seen only by what reads the file itself.
    assert loaded.columns["text"].row(0).tolist() == [77, 6, 7]
    with pytest.raises(ValueError, match="read-only"):
        loaded.columns["text"].ids[0] = 1


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


CONFIG = TokenizerConfig(vocabulary=260)


def corpus_of(rows: dict[str, list[dict[str, str]]], *, root: Path) -> Stage:
    def build(folder: Path) -> dict:
        return {split: write_jsonl(folder / f"{split}.jsonl", rows[split]) for split in SPLITS}

    spec = StageSpec(name="corpus", version=1, config={"rows": canonical_json(rows)}, inputs={})
    return run_stage(spec, build, root=root)


@pytest.fixture
def stages(tmp_path: Path) -> tuple[Stage, Stage]:
    corpus = corpus_of(SPLIT_ROWS, root=tmp_path)
    return corpus, tokenizer_stage(corpus, CONFIG, fields=("text",), template="<s> $A </s>", root=tmp_path)


class Labelled:
    """A family as far as the tokens stage knows one."""

    name = "classification"

    def survey(self, rows: Iterable[dict[str, str]], tokenizer: TextTokenizer) -> Survey:
        return Survey(facts={"labels": sorted({row["label"] for row in rows})})

    def tokenize(self, rows: Sequence[dict[str, str]], tokenizer: TextTokenizer, survey: Survey) -> TokenTable:
        labels = survey.facts["labels"]
        numbers = {"label": np.array([labels.index(row["label"]) for row in rows], dtype=np.int64)}
        return TokenTable.of(
            {"text": TokenColumn.encoded([row["text"] for row in rows], tokenizer)}, survey, numbers=numbers
        )


class Losing(Labelled):
    name = "losing"

    def tokenize(self, rows: Sequence[dict[str, str]], tokenizer: TextTokenizer, survey: Survey) -> TokenTable:
        return super().tokenize(rows[1:], tokenizer, survey)


def test_rows_of_a_split_are_read_in_order(stages: tuple[Stage, Stage]) -> None:
    for split in SPLITS:
        assert rows_of(stages[0].path, split) == SPLIT_ROWS[split]


def test_the_stage_writes_a_table_a_split_with_the_same_facts(stages: tuple[Stage, Stage], tmp_path: Path) -> None:
    stage = tokens_stage(*stages, family=Labelled(), root=tmp_path)
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
    stage = tokens_stage(*stages, family=Labelled(), root=tmp_path)
    manifest = json.loads((stage.path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"] == {"corpus": stages[0].key, "tokenizer": stages[1].key}


def test_an_empty_split_is_a_table_without_rows(tmp_path: Path) -> None:
    corpus = corpus_of({**SPLIT_ROWS, "validation": []}, root=tmp_path)
    tokenizer = tokenizer_stage(corpus, CONFIG, fields=("text",), template="<s> $A </s>", root=tmp_path)
    stage = tokens_stage(corpus, tokenizer, family=Labelled(), root=tmp_path)
    loaded = TokenTable.load(stage.path / "validation.safetensors")
    assert (len(loaded), loaded.columns["text"].ids.size, loaded.numbers["label"].size) == (0, 0, 0)
    assert stage.facts["splits"]["validation"] == {"rows": 0, "tokens": {"text": 0}, "longest": {"text": 0}}


def test_the_stage_writes_what_all_rows_at_once_would_be(
    stages: tuple[Stage, Stage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "BATCH_CHARACTERS", 10)
    stage = tokens_stage(*stages, family=Labelled(), root=tmp_path)
    tokenizer = TextTokenizer.load(stages[1].path)
    survey = Labelled().survey([row for split in SPLITS for row in SPLIT_ROWS[split]], tokenizer)
    for split in SPLITS:
        Labelled().tokenize(SPLIT_ROWS[split], tokenizer, survey).save(tmp_path / split)
        assert (stage.path / f"{split}.safetensors").read_bytes() == (tmp_path / split).read_bytes()


class Counted(dict[str, str]):
    """A row that knows how many of its kind are alive, and how many were at most."""

    alive = most = 0

    def __init__(self, row: dict[str, str]) -> None:
        super().__init__(row)
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self) -> None:
        Counted.alive -= 1


@pytest.mark.parametrize("name", FAMILIES)
def test_no_more_than_two_batches_of_rows_are_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    family = load_family(name)
    made = [
        {"group": "g", "text": f"row {i}", "label": "ab"[i % 2], "source": f"row {i}", "target": "x"}
        for i in range(900)
    ]
    corpus = corpus_of({"train": made, "validation": made[:2], "test": made[:2]}, root=tmp_path)
    tokenizer = tokenizer_stage(corpus, CONFIG, fields=family.text_fields, template=family.template, root=tmp_path)
    monkeypatch.setattr(tokens, "BATCH_CHARACTERS", 20 * sum(map(len, made[-1].values())))
    monkeypatch.setattr(tokens, "read_jsonl", lambda path: map(Counted, read_jsonl(path)))
    Counted.most = 0
    tokens_stage(corpus, tokenizer, family=family, root=tmp_path)
    # The first rows are shorter, so that a few more of them fill a batch.
    assert 20 <= Counted.most <= 2 * 25


def test_a_family_that_loses_rows_is_refused(stages: tuple[Stage, Stage], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="losing made 2 table rows of 3 corpus rows"):
        tokens_stage(*stages, family=Losing(), root=tmp_path)
