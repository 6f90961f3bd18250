"""A training text that shares thirteen words in a row with a held-out one goes, and the held-out one stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.cleaning.account import read_quarantine
from llm.cleaning.config import CleaningConfig
from llm.corpora.base import short_hash
from llm.corpora.local_files import LocalFilesConfig
from llm.errors import CorpusError
from llm.files import read_jsonl
from llm.ingest import overlaps
from llm.ingest.corpus import corpus_stage
from llm.ingest.shards import QUARANTINE
from llm.splits import SPLITS, SplitConfig, split_of
from llm.stages import Stage

THIRDS = SplitConfig(validation=0.3, test=0.3)
SHARED = [f"shared{number}" for number in range(20)]


def in_split(split: str, words: list[str], *, skip: int = 0) -> str:
    """A text with these words that its hash puts in `split`, the one behind so many others."""
    texts = (f"{' '.join(words)} ending{number}" for number in range(1000))
    found = [text for text in texts if split_of(short_hash(text), THIRDS) == split]
    return found[skip]


def ingest(folder: Path, texts: list[str], *, others: int = 600, **cleaning: object) -> Stage:
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_text("\n".join([*(f"Text number {n}" for n in range(others)), *texts]), encoding="utf-8")
    config = LocalFilesConfig(format="txt", document="line", paths=(str(folder / "a.txt"),))
    options = CleaningConfig.model_validate(cleaning)
    return corpus_stage(config, options, THIRDS, fields=("text",), root=folder / "stages", downloads=folder)


def rows(stage: Stage, split: str) -> set[str]:
    return {row["text"] for row in read_jsonl(stage.path / f"{split}.jsonl")}


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_the_training_text_goes_and_the_quarantine_says_because_of_which(tmp_path: Path, held_out: str) -> None:
    kept_text, gone = in_split(held_out, ["x", *SHARED]), in_split("train", ["other", *SHARED[2:15]])
    stage = ingest(tmp_path, [gone, kept_text])
    assert stage.facts["dropped"]["overlapping"] == 1
    assert gone not in rows(stage, "train")
    assert kept_text in rows(stage, held_out)
    (found,) = read_quarantine(stage.path / QUARANTINE)
    place = tmp_path / "a.txt"
    assert (found["position"], found["record"]) == (601, {"text": gone})
    assert found["reason"] == f"shares thirteen words in a row with {place}, 602, which is held out"


def test_twelve_words_are_no_overlap_and_neither_are_eight_of_a_fingerprint(tmp_path: Path) -> None:
    texts = [in_split("test", SHARED)] + [in_split("train", SHARED[start : start + 12]) for start in range(8)]
    assert ingest(tmp_path, texts).facts["dropped"]["overlapping"] == 0


@pytest.mark.parametrize(("copies", "dropped"), [(10, 10), (11, 0)])
def test_what_more_than_ten_training_texts_hold_is_common(tmp_path: Path, copies: int, dropped: int) -> None:
    texts = [in_split("test", SHARED)]
    texts += [in_split("train", [f"copy{n}", *SHARED]) for n in range(copies)]
    assert ingest(tmp_path, texts).facts["dropped"]["overlapping"] == dropped


def test_in_a_small_corpus_what_two_of_its_training_texts_hold_is_common(tmp_path: Path) -> None:
    texts = [in_split("test", SHARED), *(in_split("train", [f"copy{n}", *SHARED]) for n in range(2))]
    assert ingest(tmp_path / "small", texts, others=60).facts["dropped"]["overlapping"] == 0
    assert ingest(tmp_path / "large", texts).facts["dropped"]["overlapping"] == 2


def test_it_is_kept_where_that_is_wanted_and_refused_where_that_is(tmp_path: Path) -> None:
    texts = [in_split("test", SHARED), in_split("train", ["other", *SHARED])]
    assert ingest(tmp_path / "kept", texts, overlaps="keep").facts["dropped"]["overlapping"] == 0
    told = r"train rows in test: 1 records share 13 words in a row with a held-out text, such as .*a.txt, 602 \(train\)"
    with pytest.raises(CorpusError, match=told + r" and .*a.txt, 601 \(test\)"):
        ingest(tmp_path / "refused", texts, leaks="refuse")


def test_fingerprints_that_are_looked_for_in_turns_find_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for number in range(30):
        words = [f"{number}w{n}" for n in range(30)]
        texts += [in_split(SPLITS[number % 2 + 1], words), in_split("train", [f"{number}", *words[5:20]])]
    at_once = ingest(tmp_path / "at once", texts)
    monkeypatch.setattr(overlaps, "_AT_ONCE", 10)
    monkeypatch.setattr(overlaps, "_TABLE_BITS", 4)
    in_turns = ingest(tmp_path / "in turns", texts)
    assert at_once.facts["dropped"]["overlapping"] == in_turns.facts["dropped"]["overlapping"] == 30
    assert rows(at_once, "train") == rows(in_turns, "train")
