"""Properties that hold for any file: nothing is lost, splits stay, and text comes back as it was."""

from __future__ import annotations

import io
import json
import tempfile
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.cleaning.account import Account, read_quarantine
from llm.cleaning.config import CleaningConfig
from llm.cleaning.pipeline import clean
from llm.corpora.base import Record
from llm.corpora.formats.lines import Line, lines
from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.files import read_jsonl
from llm.ingest.corpus import corpus_stage
from llm.ingest.shards import QUARANTINE
from llm.splits import SPLITS, SplitConfig
from llm.stages import Stage
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer

# The same examples every time, and no limit on the time of one: the machines of tests are not alike.
steady = settings(derandomize=True, deadline=None, max_examples=80)

# Pieces of which files are made: what is fine, what is not, and what lies between.
PIECES = st.sampled_from(
    [
        b"body,topic\n",
        b"body\ttopic\n",
        b'{"body": "a", "topic": "x"}\n',
        b'{"body": "b", "body": "c", "topic": "y"}\n',
        b'{"body": "\\ud800", "topic": "x"}\n',
        b'{"body": 7}\n',
        b"{",
        b'"',
        b'""',
        b",",
        b"\t",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        "Grüße".encode(),
        b"a" * 40,
        b"word ",
    ]
)
FILES = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=30).map(b"".join))
FORMATS: dict[str, dict[str, Any]] = {
    "txt": {"document": "line"},
    "jsonl": {"columns": {"text": "body", "label": "topic"}},
    "csv": {"columns": {"text": "1", "label": "2"}, "header": False},
    "tsv": {"columns": {"text": "1", "label": "2"}, "header": False},
}


class Trickle(io.BytesIO):
    """A stream that gives a few bytes at a time, as a socket does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(3 if size and size > 0 else size)


@steady
@given(data=FILES)
def test_lines_are_those_of_the_whole_text_wherever_the_stream_is_cut(data: bytes) -> None:
    def read(stream: io.BytesIO) -> list[tuple[Any, ...]]:
        found = lines(stream, origin="file", longest=30)
        return [tuple(line) if isinstance(line, Line) else (line.defect, line.position, line.offset) for line in found]

    assert read(Trickle(data)) == read(io.BytesIO(data))
    good = [line for line in lines(io.BytesIO(data), origin="file", longest=30) if isinstance(line, Line)]
    for line in good:
        assert data[line.offset :].startswith(line.text.encode())


# A header whose first row has other cells than wanted refuses the file, which is another test's concern.
@pytest.mark.parametrize("kind", ["txt", "jsonl"])
@steady
@given(data=FILES)
def test_what_is_read_is_kept_or_dropped_and_every_drop_is_in_the_quarantine(kind: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        path.write_bytes(data)
        config = LocalFilesConfig(format=kind, paths=(str(path),), **FORMATS[kind])
        items = list(LocalFiles().records(config, downloads=path))
    quarantine: list[dict[str, Any]] = []
    account = Account(quarantine.append)
    kept = list(chain.from_iterable(clean(items, CleaningConfig(minimum_characters=2), steps={}, account=account)))
    assert account.read == len(items)
    assert account.kept == len(kept)
    assert account.read == account.kept + sum(account.dropped.values())
    assert Counter(row["step"] for row in quarantine) == Counter(account.dropped)
    assert all(row["source"] == str(path) and row["reason"] for row in quarantine)


@pytest.mark.parametrize("kind", ["csv", "tsv"])
@steady
@given(rows=st.lists(st.tuples(st.sampled_from(["a", 'q"q', '"', "x,y", "é", ""]), st.sampled_from(["x", "y"]))))
def test_rows_of_tables_are_read_or_quarantined_one_by_one(kind: str, rows: list[tuple[str, str]]) -> None:
    delimiter = "," if kind == "csv" else "\t"
    text = "".join(delimiter.join(row) + "\n" for row in [("first", "x"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{kind}"
        path.write_text(text, encoding="utf-8")
        config = LocalFilesConfig(format=kind, paths=(str(path),), **FORMATS[kind])
        items = list(LocalFiles().records(config, downloads=path))
    positions = [item.position for item in items]
    assert positions == sorted(set(positions))
    assert items[0] == Record(None, {"text": "first", "label": "x"})
    if '"' not in text:
        assert len(items) == 1 + len(rows)
        whole = ["," not in cell or kind == "tsv" for cell, _ in rows]
        assert [isinstance(item, Record) for item in items[1:]] == whole


TEXTS = st.lists(st.text(alphabet="abcdé ", min_size=1, max_size=6), min_size=1, max_size=60)
THIRDS = SplitConfig(validation=0.3, test=0.3)
# Enough of them that no split is ever empty.
BASE = [f"Text number {number}" for number in range(60)]


def ingest(folder: Path, *files: list[str]) -> Stage:
    for number, texts in enumerate(files):
        (folder / f"{number:02}.txt").write_text("".join(text + "\n" for text in texts), encoding="utf-8")
    config = LocalFilesConfig(format="txt", document="line", paths=(str(folder / "*.txt"),))
    options = CleaningConfig(maximum_bad_share=1.0)
    return corpus_stage(config, options, THIRDS, fields=("text",), root=folder / "stages", downloads=folder)


def splits(stage: Stage) -> dict[str, str]:
    """The split of every text that is kept."""
    return {row["text"]: split for split in SPLITS for row in read_jsonl(stage.path / f"{split}.jsonl")}


@settings(steady, max_examples=25)
@given(texts=TEXTS, more=TEXTS, seed=st.randoms(use_true_random=False))
def test_splits_stay_when_a_corpus_is_permuted_or_grows(texts: list[str], more: list[str], seed: Any) -> None:
    permuted = [*BASE, *texts]
    seed.shuffle(permuted)
    found = []
    for files in ([[*BASE, *texts]], [permuted], [[*BASE, *texts], more], [more, [*BASE, *texts]]):
        with tempfile.TemporaryDirectory() as folder:
            found.append(splits(ingest(Path(folder), *files)))
    first, shuffled, *grown = found
    assert shuffled == first
    held_out = {text for text, split in first.items() if split != "train"}
    for later in grown:
        assert all(later[text] == first[text] for text in held_out)
        assert all(later.get(text, split) == split or later[text] != "train" for text, split in first.items())


@settings(steady, max_examples=25)
@given(texts=TEXTS)
def test_the_counts_of_a_corpus_add_up(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stage = ingest(Path(folder), BASE, texts)
        quarantine = list(read_quarantine(stage.path / QUARANTINE))
        rows = splits(stage)
    facts = stage.facts
    assert facts["read"] == facts["kept"] + sum(facts["dropped"].values())
    assert facts["kept"] == sum(facts["splits"][split]["rows"] for split in SPLITS) == len(rows)
    assert len(quarantine) == sum(facts["dropped"].values())
    assert facts["read"] == len(BASE) + len(texts)


@pytest.fixture(scope="module", params=[{}, {"word_ends": True}, {"prefix_space": True}], ids=str)
def tokenizer(request: pytest.FixtureRequest) -> TextTokenizer:
    config = TokenizerConfig(vocabulary=600, **request.param)
    return TextTokenizer(train_tokenizer([json.dumps(row) for row in BASE], config, template="<s> $A </s>"))


@steady
@given(text=st.text(max_size=60))
def test_a_tokenizer_gives_back_any_text_byte_for_byte(tokenizer: TextTokenizer, text: str) -> None:
    decoded = tokenizer.decode(tokenizer.encode(text))
    assert decoded.encode() in (text.encode(), f" {text}".encode())
