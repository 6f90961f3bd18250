"""The corpus stage: the rows that the other rooms read, its account, and what is said when nothing is left."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from llm.cleaning.account import read_quarantine
from llm.cleaning.config import CleaningConfig
from llm.corpora.base import short_hash
from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.errors import ConfigError, CorpusError
from llm.files import read_jsonl, sha256_of
from llm.ingest.corpus import _shares, corpus_stage
from llm.ingest.shards import QUARANTINE
from llm.pieces import pieces_of
from llm.splits import SPLITS, SplitConfig, split_of
from llm.stages import Stage, verify_stage

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


def test_rows_hold_the_group_and_the_fields_and_lie_in_the_split_of_their_group(tmp_path: Path) -> None:
    stage = ingest(topics(tmp_path, [row(i) for i in range(100)]), tmp_path)
    seen = []
    for split in SPLITS:
        for found in read_jsonl(stage.path / f"{split}.jsonl"):
            assert list(found) == ["group", "text", "label"]
            assert split_of(found["group"], HALVES) == split
            seen.append(found["text"])
    assert sorted(seen) == sorted(f"Grüße {i}" for i in range(100))


def test_the_facts_say_where_from_and_how_much(tmp_path: Path) -> None:
    rows = [row(i) for i in range(100)] + [row(100, body=" "), row(0)]
    config = topics(tmp_path, rows)
    stage = ingest(config, tmp_path)
    facts = stage.facts
    assert (facts["read"], facts["kept"]) == (102, 100)
    assert {name: count for name, count in facts["dropped"].items() if count} == {"blank": 1, "duplicate": 1}
    assert facts["origin"] == {"paths": list(config.paths), "terms": "ours"}
    assert list(stage.manifest["inputs"]) == list(config.paths)
    splits = facts["splits"]
    # Two letters of "Grüße" take two bytes each in UTF-8; the label is no text.
    assert sum(size["bytes"] for size in splits.values()) == sum(len(f"Grüße {i}") + 2 for i in range(100))
    assert sum(size["groups"] for size in splits.values()) == 20
    assert sum(size["labels"]["t0"] for size in splits.values() if "t0" in size["labels"]) == 50


def test_the_sums_that_were_taken_while_the_splits_were_written_are_those_of_the_files(tmp_path: Path) -> None:
    stage = ingest(topics(tmp_path, [row(i) for i in range(100)]), tmp_path)
    assert set(stage.manifest["files"]) >= {f"{split}.jsonl" for split in SPLITS}
    verify_stage(stage)


def test_only_the_fields_that_the_family_needs_are_kept(tmp_path: Path) -> None:
    rows = [row(i) for i in range(100)] + [row(1, topic="t0", author="author 1")]
    stage = ingest(topics(tmp_path, rows), tmp_path, fields=("text",))
    assert all(list(found) == ["group", "text"] for found in read_jsonl(stage.path / "train.jsonl"))
    # The same text under another label is a duplicate once labels are gone.
    assert stage.facts["dropped"]["duplicate"] == 1


def test_a_changed_file_is_another_corpus_and_an_unchanged_one_is_reused(tmp_path: Path) -> None:
    first = ingest(topics(tmp_path, [row(i) for i in range(100)]), tmp_path)
    again = ingest(topics(tmp_path, [row(i) for i in range(100)]), tmp_path)
    changed = ingest(topics(tmp_path, [row(i) for i in range(101)]), tmp_path)
    assert (again.reused, again.key) == (True, first.key)
    assert (changed.reused, changed.key == first.key) == (False, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"cleaning": CleaningConfig(minimum_characters=2)},
        {"splits": SplitConfig(validation=0.3, test=0.31)},
        {"fields": ("text",)},
    ],
)
def test_other_options_are_another_corpus(tmp_path: Path, changes: dict) -> None:
    config = topics(tmp_path, [row(i) for i in range(100)])
    assert ingest(config, tmp_path).key != ingest(config, tmp_path, **changes).key


def test_a_new_version_of_the_reader_is_another_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = topics(tmp_path, [row(i) for i in range(100)])
    before = ingest(config, tmp_path)
    monkeypatch.setattr(LocalFiles, "version", LocalFiles.version + 1)
    assert ingest(config, tmp_path).key != before.key


def test_a_source_without_the_needed_field_is_a_config_error(tmp_path: Path) -> None:
    config = topics(tmp_path, [row(i) for i in range(100)])
    with pytest.raises(ConfigError, match="gives text and label, but source and target is needed"):
        ingest(config, tmp_path, fields=("source", "target"))


def test_an_empty_corpus_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"the corpus 'local_files' is empty: no record in .*\.jsonl"):
        ingest(topics(tmp_path, []), tmp_path)


def test_a_corpus_that_cleaning_empties_says_by_which_step(tmp_path: Path) -> None:
    config = topics(tmp_path, [row(i) for i in range(10)] + [row(1, body="")])
    with pytest.raises(CorpusError, match=r"all 11 records were dropped \(blank 1, too_short 10\)"):
        ingest(config, tmp_path, cleaning=CleaningConfig(minimum_characters=50))


def test_an_empty_split_is_named_with_what_can_be_done(tmp_path: Path) -> None:
    config = topics(tmp_path, [row(i, author="the only one") for i in range(10)])
    with pytest.raises(CorpusError, match=r"the \w+ split of the corpus 'local_files' is empty: 10 records in 1 group"):
        ingest(config, tmp_path)


def test_a_failed_corpus_leaves_no_finished_stage(tmp_path: Path) -> None:
    with pytest.raises(CorpusError):
        ingest(topics(tmp_path, []), tmp_path)
    assert list((tmp_path / "stages" / "corpus").glob("*/manifest.json")) == []


def test_a_missing_file_is_reported_before_any_stage_is_begun(tmp_path: Path) -> None:
    config = LocalFilesConfig(format="txt", paths=(str(tmp_path / "none.txt"),))
    with pytest.raises(CorpusError, match="no such file"):
        ingest(config, tmp_path, fields=("text",))
    assert not (tmp_path / "stages").exists()


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


def paragraphs(count: int) -> list[str]:
    words = [f"word{number}" for number in range(500)]
    draw = random.Random(1)
    return [" ".join(draw.choices(words, k=40)) for _ in range(count)]


def edited(text: str) -> str:
    words = text.split()
    return " ".join("other" if number in (5, 17, 29, 36) else word for number, word in enumerate(words))


def test_of_near_duplicates_the_one_that_is_held_out_most_stays(tmp_path: Path) -> None:
    texts = paragraphs(60)
    copies = [edited(text) for text in texts]
    (tmp_path / "a.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n".join(copies) + "\n", encoding="utf-8")
    config = LocalFilesConfig(format="txt", document="line", paths=(str(tmp_path / "*.txt"),))
    stage = ingest(config, tmp_path, fields=("text",), cleaning=CleaningConfig(near_duplicates=0.5))
    kept = {found["text"]: split for split in SPLITS for found in read_jsonl(stage.path / f"{split}.jsonl")}
    assert stage.facts["dropped"]["near_duplicate"] == 60
    order = list(SPLITS)
    for text, copy in zip(texts, copies, strict=True):
        (stays,) = {text, copy} & set(kept)
        wanted = max(order.index(split_of(short_hash(each), HALVES)) for each in (text, copy))
        assert kept[stays] == order[wanted]
    everything = ingest(config, tmp_path, fields=("text",))
    assert everything.facts["kept"] == 120


def test_a_corpus_whose_training_texts_are_held_out_too_is_refused_whatever_the_steps_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(i) for i in range(100)] + [row(i, author=f"another {i}") for i in range(10)]
    config = topics(tmp_path, rows)
    ingest(config, tmp_path / "removed")
    monkeypatch.setattr("llm.ingest.selection.STEPS", {})
    with pytest.raises(
        CorpusError, match=r"train rows in test: \d+ records of training have a held-out text after all"
    ):
        ingest(config, tmp_path / "refused")


def test_records_that_are_compared_in_turns_make_the_same_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(i) for i in range(200)] + [row(i, body=f"grüße {i}", author=f"another {i}") for i in range(20)]
    rows += [row(i) for i in range(5)] + [row(i, topic=f"t{(i + 1) % 2}") for i in range(30, 33)]
    config = topics(tmp_path, rows)
    at_once = ingest(config, tmp_path / "at once")
    assert all(at_once.facts["dropped"][step] > 2 for step in ("duplicate", "conflicting_label", "leaked"))
    monkeypatch.setattr("llm.ingest.selection._SORTED_AT_ONCE", 10)
    in_turns = ingest(config, tmp_path / "in turns")
    assert in_turns.facts == at_once.facts
    for split in SPLITS:
        assert (in_turns.path / f"{split}.jsonl").read_bytes() == (at_once.path / f"{split}.jsonl").read_bytes()
    assert list(read_quarantine(in_turns.path / QUARANTINE)) == list(read_quarantine(at_once.path / QUARANTINE))
