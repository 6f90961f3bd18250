"""The corpus stage: the rows that the other rooms read, its account, and what is said when nothing is left."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from small_corpora import HALVES, ingest, row, topics

from llm.cleaning.account import read_quarantine
from llm.cleaning.config import CleaningConfig
from llm.corpora.base import short_hash
from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.errors import ConfigError, CorpusError
from llm.files import read_jsonl
from llm.ingest.shards import QUARANTINE
from llm.splits import SPLITS, SplitConfig, split_of
from llm.stages import verify_stage


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
