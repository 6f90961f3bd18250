"""A corpus is read in parts: only what is new, in processes, large files in pieces, and always to the same rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small_corpora import HALVES, ingest, row, topics

from llm.cleaning.account import read_quarantine
from llm.cleaning.config import CleaningConfig
from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.errors import CorpusError
from llm.files import sha256_of
from llm.ingest.corpus import _shares, corpus_stage
from llm.ingest.shards import QUARANTINE
from llm.pieces import pieces_of
from llm.splits import SPLITS


def hundred_files(folder: Path) -> LocalFilesConfig:
    texts = folder / "texts"
    texts.mkdir()
    for number in range(100):
        path = texts / f"{number:03}.txt"
        path.write_text(f"Text {number}.\nMore of {number}.\n", encoding="utf-8")
        os.utime(path, (1e9 + number, 1e9 + number))  # a checksum is not remembered of what changed just now
    return LocalFilesConfig(format="txt", document="line", paths=(str(texts / "*.txt"),))


def test_of_a_corpus_of_a_hundred_files_and_a_new_one_only_the_new_one_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = hundred_files(tmp_path)
    before = ingest(config, tmp_path, fields=("text",))
    tests = (before.path / "test.jsonl").read_text().splitlines()
    (tmp_path / "texts" / "100.txt").write_text("Text 100.\nMore of 100.\nText 7.\n", encoding="utf-8")
    read: list[str] = []
    records = LocalFiles.records

    def reading(self, config, *, downloads):
        read.extend(config.paths)
        return records(self, config, downloads=downloads)

    def hashing(path: Path) -> str:
        read.append(str(path))
        return sha256_of(path)

    monkeypatch.setattr(LocalFiles, "records", reading)
    monkeypatch.setattr("llm.checksums.sha256_of", hashing)
    after = ingest(config, tmp_path, fields=("text",))
    assert read == [str(tmp_path / "texts" / "100.txt")] * 2  # its checksum, and its lines
    new = {"Text 100.", "More of 100."}
    assert [
        line for line in (after.path / "test.jsonl").read_text().splitlines() if json.loads(line)["text"] not in new
    ] == tests
    assert after.facts["read"] == 203
    assert after.facts["dropped"]["duplicate"] == 1
    again = ingest(config, tmp_path / "at once", fields=("text",))
    assert (again.key, again.manifest["files"]) == (after.key, after.manifest["files"])


def test_the_same_files_make_the_same_bytes_anywhere(tmp_path: Path) -> None:
    found = []
    for root in ("one", "two"):
        stage = ingest(topics(tmp_path, [row(i) for i in range(100)] + [row(5, body="")]), tmp_path / root)
        found.append((stage.key, stage.manifest["files"]))
    assert found[0] == found[1]
    assert "quarantine.jsonl.gz" in found[0][1]


def test_more_files_than_parts_are_read_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.corpora.local_files._MOST_PARTS", 10)
    config = hundred_files(tmp_path)
    parts = LocalFiles().parts(config, pieces=pieces_of)
    assert 10 < len(parts) < 100
    assert sorted(path for part in parts.values() for path in part.paths) == sorted(
        LocalFiles().content(config, checksum=sha256_of)
    )
    assert ingest(config, tmp_path, fields=("text",)).facts["read"] == 200


def large_files(folder: Path, bad: str = "") -> LocalFilesConfig:
    for number in range(3):
        rows = [json.dumps({"body": f"Text {number} {i} " + "x" * 900, "topic": f"t{i % 2}"}) for i in range(6000)]
        (folder / f"{number}.jsonl").write_text("\n".join([*rows, bad]) + "\n", encoding="utf-8")
    columns = {"text": "body", "label": "topic"}
    return LocalFilesConfig(format="jsonl", paths=(str(folder / "*.jsonl"),), columns=columns)


def test_several_processes_make_the_same_bytes_as_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = large_files(tmp_path, bad="{")
    found = []
    for workers in (1, 2):
        with caplog.at_level("INFO"):
            stage = corpus_stage(
                config,
                CleaningConfig(),
                HALVES,
                fields=("text", "label"),
                root=tmp_path / f"stages {workers}",
                downloads=tmp_path,
                workers=workers,
            )
        found.append(stage.manifest["files"])
    assert found[0] == found[1]
    shards = {1: [], 2: []}
    for workers, processes in shards.items():
        folder = tmp_path / f"stages {workers}" / "shard"
        processes += sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert shards[1] == shards[2]
    assert len(shards[1]) == 3


def _first_byte(part: str) -> int:
    return int(part.split()[-1].replace(",", ""))


def test_a_large_file_is_read_in_pieces_to_the_same_rows_and_one_that_grew_is_read_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(i) for i in range(400)] + [row(7), {"body": "no topic"}]
    config = topics(tmp_path, rows)
    whole = ingest(config, tmp_path / "whole", cleaning=CleaningConfig(labels=("t0", "t1")))
    monkeypatch.setattr("llm.pieces.SIZE", 4_000)
    cut = ingest(config, tmp_path / "cut", cleaning=CleaningConfig(labels=("t0", "t1")))
    assert len(list((tmp_path / "cut" / "stages" / "shard").glob("[!.]*"))) > 5
    for split in SPLITS:
        assert (cut.path / f"{split}.jsonl").read_bytes() == (whole.path / f"{split}.jsonl").read_bytes()
    assert list(read_quarantine(cut.path / QUARANTINE)) == list(read_quarantine(whole.path / QUARANTINE))

    with Path(config.paths[0]).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row(i)) + "\n" for i in range(1000, 1010))
    grown = ingest(config, tmp_path / "cut", cleaning=CleaningConfig(labels=("t0", "t1")))
    assert (grown.facts["read"], grown.facts["kept"]) == (412, 410)
    before, after = cut.manifest["inputs"], grown.manifest["inputs"]
    # Only what was the last piece is another now.
    assert [name for name in before if before[name] != after[name]] == [max(before, key=_first_byte)]
    again = ingest(config, tmp_path / "at once", cleaning=CleaningConfig(labels=("t0", "t1")))
    assert (again.key, again.manifest["files"]) == (grown.key, grown.manifest["files"])


def test_an_error_in_another_process_is_the_error_that_it_is_here(tmp_path: Path) -> None:
    config = large_files(tmp_path).model_copy(update={"columns": {"text": "nobody", "label": "topic"}})
    with pytest.raises(CorpusError, match=r"1,000 of 1,000 records are bad.*there is no column 'nobody'"):
        corpus_stage(
            config,
            CleaningConfig(),
            HALVES,
            fields=("text", "label"),
            root=tmp_path / "stages",
            downloads=tmp_path,
            workers=2,
        )


def test_parts_are_shared_out_by_size_and_a_little_is_read_here() -> None:
    mega = 1_000_000
    sizes = {"a": 30 * mega, "b": 10 * mega, "c": 12 * mega, "d": 1}
    assert _shares(sizes, most=2) == [["a"], ["c", "b", "d"]]
    assert _shares({"d": 1}, most=2) == [["d"]]
    assert len(_shares({"b": 10 * mega, "c": 12 * mega}, most=8)) == 2
