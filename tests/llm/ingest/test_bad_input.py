"""Whatever a file holds, a corpus is made of the rest, normalised alike, or refused with the name of what is wrong."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm.cleaning.account import read_quarantine
from llm.cleaning.config import CleaningConfig
from llm.corpora.local_files import LocalFilesConfig
from llm.errors import CorpusError
from llm.files import read_jsonl
from llm.ingest.corpus import corpus_stage
from llm.ingest.shards import QUARANTINE
from llm.splits import SPLITS, SplitConfig
from llm.stages import Stage
from llm.tokenizer import SPECIAL_TOKENS, TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer

THIRDS = SplitConfig(validation=0.3, test=0.3)
GOOD = 300
FIELDS = {"jsonl": ("text", "label"), "csv": ("text", "label"), "txt": ("text",), "parallel": ("source", "target")}
COLUMNS = {"text": "body", "label": "topic"}


def good_row(number: int) -> str:
    return json.dumps({"body": f"Body {number}", "topic": f"t{number % 2}"})


GOOD_LINES: dict[str, Callable[[int], str]] = {
    "jsonl": good_row,
    "csv": lambda number: f"Body {number},t{number % 2}",
    "txt": lambda number: f"Text number {number}",
}


def ingest(config: LocalFilesConfig, folder: Path, **cleaning: Any) -> Stage:
    fields = FIELDS[config.format]
    options = CleaningConfig(**cleaning)
    return corpus_stage(config, options, THIRDS, fields=fields, root=folder / "stages", downloads=folder)


def file_config(kind: str, content: bytes, folder: Path, name: str = "rows") -> LocalFilesConfig:
    path = folder / f"{name}.{kind}"
    path.write_bytes(content)
    options = {"document": "line"} if kind == "txt" else {"columns": COLUMNS}
    return LocalFilesConfig(format=kind, paths=(str(path),), **options)


def with_bad_line(kind: str, bad: bytes) -> tuple[bytes, int, int]:
    """300 good lines with `bad` in the middle: content, line number and offset of the bad one."""
    lines = [GOOD_LINES[kind](number).encode() for number in range(GOOD)]
    head = [b"body,topic"] if kind == "csv" else []
    before = b"".join(line + b"\n" for line in [*head, *lines[:150]])
    after = b"".join(line + b"\n" for line in lines[150:])
    return before + bad + b"\n" + after, len(head) + 151, len(before)


QUARANTINED = [
    ("txt", b"caf\xe9", "not_utf8"),
    ("txt", b"slash as two bytes: \xc0\xaf", "not_utf8"),
    ("txt", b"half of a character: \xed\xa0\x80", "not_utf8"),
    ("txt", "UTF-16".encode("utf-16-le"), "nul_byte"),
    ("txt", b"a\0b", "nul_byte"),
    ("txt", b"x" * 100_000_000, "too_large"),
    ("jsonl", b'{"body": "a", "topic"', "not_json"),
    ("jsonl", b'{"body": "\\ud83d", "topic": "t1"}', "lone_surrogate"),
    ("jsonl", b'{"body": ' + b"[" * 10_000 + b"]" * 10_000 + b', "topic": "t1"}', "nested_too_deep"),
    ("jsonl", b'{"body": "a", "body": "b", "topic": "t1"}', "duplicate_key"),
    ("jsonl", b'{"body": NaN, "topic": "t1"}', "not_a_number"),
    ("jsonl", b'{"body": "no topic"}', "missing_column"),
    ("csv", b'"never closed,t1', "quotes"),
]


@pytest.mark.parametrize(("kind", "bad", "defect"), QUARANTINED, ids=[f"{k}-{d}-{len(b)}" for k, b, d in QUARANTINED])
def test_what_cannot_be_read_is_quarantined_with_file_and_offset_and_the_rest_goes_on(
    kind: str, bad: bytes, defect: str, tmp_path: Path
) -> None:
    content, line, offset = with_bad_line(kind, bad)
    config = file_config(kind, content, tmp_path)
    stage = ingest(config, tmp_path)
    (found,) = read_quarantine(stage.path / QUARANTINE)
    assert (found["source"], found["position"], found["offset"]) == (config.paths[0], line, offset)
    assert found["step"] == defect
    assert found["reason"]
    assert (stage.facts["read"], stage.facts["kept"], stage.facts["bad"]) == (GOOD + 1, GOOD, 1)


@pytest.mark.parametrize(
    ("row", "step", "cleaning"),
    [
        ({"body": "a text", "topic": ""}, "missing_label", {}),
        ({"body": "a text", "topic": None}, "missing_label", {}),
        ({"body": "a text", "topic": "t7"}, "unknown_label", {"labels": ("t0", "t1")}),
    ],
)
def test_labels_that_are_missing_or_unknown_are_quarantined(
    row: dict[str, Any], step: str, cleaning: dict[str, Any], tmp_path: Path
) -> None:
    content, line, _ = with_bad_line("jsonl", json.dumps(row).encode())
    stage = ingest(file_config("jsonl", content, tmp_path), tmp_path, **cleaning)
    (found,) = read_quarantine(stage.path / QUARANTINE)
    assert (found["position"], found["step"], found["record"]["text"]) == (line, step, "a text")


@pytest.mark.parametrize(
    ("source", "target", "step"),
    [("Something", " ", "empty_side"), ("", "Etwas", "empty_side"), ("ab", "c" * 19, "misaligned")],
)
def test_pairs_with_an_empty_side_or_nine_times_as_long_are_quarantined(
    source: str, target: str, step: str, tmp_path: Path
) -> None:
    sides = [[f"Source {i}" for i in range(GOOD)] + [source], [f"Ziel {i}" for i in range(GOOD)] + [target]]
    paths = [tmp_path / "a.en", tmp_path / "a.de"]
    for path, side in zip(paths, sides, strict=True):
        path.write_text("".join(line + "\n" for line in side), encoding="utf-8")
    config = LocalFilesConfig(format="parallel", paths=(str(paths[0]),), target_paths=(str(paths[1]),))
    stage = ingest(config, tmp_path)
    (found,) = read_quarantine(stage.path / QUARANTINE)
    assert (found["source"], found["position"], found["step"]) == (str(paths[0]), GOOD + 1, step)


def test_more_than_one_in_a_hundred_bad_refuses_the_corpus_and_another_limit_lets_it_pass(tmp_path: Path) -> None:
    content = b"".join(f"Text {i}\n".encode() for i in range(97)) + b"\xff\n\xff\n\xff\n"
    config = file_config("txt", content, tmp_path)
    with pytest.raises(
        CorpusError, match=r"3 of 100 records are bad, 3.0%, .* = 1.0%: not_utf8 3 \(first: .*rows.txt, 98"
    ) as error:
        ingest(config, tmp_path)
    quarantine = Path(error.value.remedy.split("they are in ")[1])
    assert [row["position"] for row in read_quarantine(quarantine)] == [98, 99, 100]
    assert ingest(config, tmp_path, maximum_bad_share=0.03).facts["kept"] == 97


LINES = [f"Grüße {number}, schöne Straße" for number in range(60)]
CLEAN = ("\n".join(LINES) + "\n").encode()


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + CLEAN,
        CLEAN.replace(b"\n", b"\r\n"),
        CLEAN.replace(b"\n", b"\r"),
        b"".join(line.encode() + end for line, end in zip(LINES, [b"\n", b"\r\n", b"\r"] * 20, strict=True)),
        CLEAN.rstrip(b"\n"),
        unicodedata.normalize("NFD", CLEAN.decode()).encode(),
    ],
    ids=["byte order mark", "CRLF", "CR", "mixed", "no final newline", "NFD"],
)
@pytest.mark.parametrize("document", ["line", "file", "paragraph"])
def test_what_is_the_same_text_makes_the_same_files(content: bytes, document: str, tmp_path: Path) -> None:
    def files(name: str, data: bytes) -> dict[str, Any]:
        # For whole files and paragraphs to be many, each line is a file of its own or parted by a blank one.
        folder = tmp_path / name
        folder.mkdir()
        if document == "paragraph":
            data = re.sub(rb"(\r\n|\r|\n)", rb"\1\1", data)
        pieces = [data]
        if document == "file":
            pieces = [mark for mark in re.split(rb"(?<=\n)|(?<=\r)(?!\n)", data) if mark]
        for number, piece in enumerate(pieces):
            (folder / f"{number:03}.txt").write_bytes(piece)
        config = LocalFilesConfig(format="txt", document=document, paths=(str(folder / "*.txt"),))
        stage = corpus_stage(config, CleaningConfig(), THIRDS, fields=("text",), root=folder, downloads=folder)
        return {split: stage.manifest["files"][f"{split}.jsonl"] for split in SPLITS}

    assert files("changed", content) == files("clean", CLEAN)


ACCEPTED = {
    "bidi controls": "\u202bshalom\u202c and \u2067salaam\u2069",
    "zero-width characters": "zero\u200bwidth\u200dand\u2060joiners\u200c",
    "combining marks": "q" + "\N{COMBINING ACUTE ACCENT}" * 10_000,
    "ZWJ emoji": "a family: \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "control token": "before <|endoftext|> and <s> and </s> and [SEP] after",
    "a million characters": "a" * 1_000_000,
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED)
def test_unusual_text_passes_unchanged_and_round_trips_through_the_tokenizer(text: str, tmp_path: Path) -> None:
    lines = [f"Text {number}" for number in range(60)] + [text]
    stage = ingest(file_config("txt", "\n".join(lines).encode(), tmp_path), tmp_path)
    kept = [row["text"] for split in SPLITS for row in read_jsonl(stage.path / f"{split}.jsonl")]
    assert text in kept
    tokenizer = TextTokenizer(train_tokenizer(lines[:60], TokenizerConfig(vocabulary=300), template="<s> $A </s>"))
    ids = tokenizer.encode_batch([text], special_tokens=False)[0]
    assert tokenizer.decode(ids) == text
    assert min(ids) >= len(SPECIAL_TOKENS)


def labelled(rows: list[tuple[str, str]]) -> bytes:
    return b"".join(json.dumps({"body": text, "topic": label}).encode() + b"\n" for text, label in rows)


FINE = [(f"Body {i}", f"t{i % 2}") for i in range(100)]


@pytest.mark.parametrize(
    ("content", "cleaning", "problem"),
    [
        (b"", {}, "is empty: no record in"),
        (b" \n\t\n\r\n \n", {}, "is empty: no record in"),
        (labelled([("  ", "t1")] * 5), {}, "is empty after cleaning: all 5 records were dropped"),
        (labelled([(text, "t1") for text, _ in FINE]), {}, "one class: .* has the label 't1'"),
        (labelled(FINE), {"labels": ("t0", "t1", "t2")}, "empty class: .* holds no record with the label 't2'"),
        (
            labelled([*FINE, *((text, "other") for text, _ in FINE[:12])]),
            {},
            r"conflicting labels: 24 of 112 records \(21.4%\).*rows.jsonl, 1 says 't0'",
        ),
    ],
    ids=["empty", "white space", "blank texts", "one class", "an empty class", "conflicting labels"],
)
def test_a_data_set_that_cannot_be_learned_from_is_refused_with_the_check(
    content: bytes, cleaning: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match=problem):
        ingest(file_config("jsonl", content, tmp_path), tmp_path, **cleaning)
    assert not list((tmp_path / "stages" / "corpus").glob("*/manifest.json"))


def test_fewer_conflicting_labels_are_left_out_on_all_sides(tmp_path: Path) -> None:
    content = labelled([*FINE, ("BODY  0", "t1"), ("Body 1", "t0"), ("Body 1", "t1")])
    stage = ingest(file_config("jsonl", content, tmp_path), tmp_path, maximum_conflicting_share=0.1)
    assert stage.facts["dropped"]["conflicting_label"] == 4
    assert stage.facts["dropped"]["duplicate"] == 1
    rows = {row["step"]: row for row in read_quarantine(stage.path / QUARANTINE)}
    assert re.fullmatch(r"has another label in .*rows\.jsonl, \d+", rows["conflicting_label"]["reason"])


def grouped(folder: Path) -> LocalFilesConfig:
    # The same greeting by every author: authors are apart, the greeting would be everywhere.
    rows = [{"body": f"Body {i}", "topic": f"t{i % 2}", "who": f"author {i}"} for i in range(60)]
    rows += [
        {"body": "Hello  there" if i % 2 else "hello there", "topic": "t1", "who": f"author {i}"} for i in range(60)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return LocalFilesConfig(format="jsonl", paths=(str(path),), columns=COLUMNS, group_column="who")


def test_a_text_of_the_test_split_is_removed_from_training(tmp_path: Path) -> None:
    stage = ingest(grouped(tmp_path), tmp_path)
    texts = {s: {row["text"].lower() for row in read_jsonl(stage.path / f"{s}.jsonl")} for s in SPLITS}
    for one, other in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert not texts[one] & texts[other]
    assert stage.facts["dropped"]["leaked"] == 1
    (leaked,) = (row for row in read_quarantine(stage.path / QUARANTINE) if row["step"] == "leaked")
    assert "which is held out" in leaked["reason"]


def test_train_rows_in_test_refuse_the_corpus_where_that_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"train rows in test: 1 records have a text that a split further .*rows.jsonl, 6"
    ):
        ingest(grouped(tmp_path), tmp_path, leaks="refuse")
