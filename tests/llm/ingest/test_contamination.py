"""Texts that measure models stay out: thirteen words in a row, whatever their case and punctuation, or the whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm.cleaning.account import read_quarantine
from llm.cleaning.config import CleaningConfig
from llm.corpora.base import Dropped, Record
from llm.corpora.local_files import LocalFilesConfig
from llm.ingest.contamination import KeptOut
from llm.ingest.corpus import corpus_stage
from llm.ingest.shards import QUARANTINE
from llm.splits import SplitConfig

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
WORDS = LONG.split()
THIRDS = SplitConfig(validation=0.3, test=0.3)


def reason(known: KeptOut, **fields: str) -> str | None:
    """Why the one record is dropped, or None."""
    (found,) = known.step([Record("g", fields)])
    return found.reason if isinstance(found, Dropped) else None


def test_records_come_out_as_they_went_in_whichever_of_them_are_dropped() -> None:
    records = [Record("g", {"text": f"text {number}"}) for number in range(1200)]
    records[700] = Record("g", {"text": LONG})
    found = list(KeptOut([LONG]).step(iter(records)))
    assert [item.record if isinstance(item, Dropped) else item for item in found] == records
    assert [number for number, item in enumerate(found) if isinstance(item, Dropped)] == [700]


@pytest.mark.parametrize(
    ("text", "kept_out"),
    [
        (LONG, True),
        (f"before it {' '.join(WORDS[1:14])} and behind", True),
        (", ".join(WORDS[:13]).upper() + "!", True),
        (" ".join(WORDS[:12]), False),
        (" ".join([*WORDS[:12], "other", *WORDS[13:]]), False),
        (" ".join(reversed(WORDS)), False),
        ("A short text.", True),
        ("a SHORT text", True),
        ("A short text more.", False),
        ("***", False),
        ("--- ", True),
        ("", False),
    ],
)
def test_thirteen_words_in_a_row_or_the_whole_text(text: str, kept_out: bool) -> None:
    assert (reason(KeptOut([LONG, "A short text.", "---", ""]), text=text) is not None) == kept_out


def test_the_reason_quotes_what_is_shared_and_labels_are_no_text() -> None:
    known = KeptOut([LONG, "spam"])
    shared = f"target shares '{' '.join(WORDS[:13])}' with a text that is to be kept out"
    assert reason(known, source="nothing", target=f"Well, {LONG}") == shared
    assert reason(known, text="nothing", label="spam") is None


def test_nothing_kept_out_keeps_everything() -> None:
    assert reason(KeptOut([]), text=LONG) is None


def test_a_corpus_drops_what_a_benchmark_file_holds_and_changes_with_that_file(tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join([f"Text {n}" for n in range(60)] + [f"So {LONG}"]), encoding="utf-8")
    benchmark = tmp_path / "benchmark.tsv"
    benchmark.write_text(f"sentence\tlabel\n{LONG}\t0\nText 7\t1\n", encoding="utf-8")
    config = LocalFilesConfig(format="txt", document="line", paths=(str(tmp_path / "texts.txt"),))
    keep_out = LocalFilesConfig(format="tsv", paths=(str(benchmark),), columns={"text": "sentence"})
    cleaning = CleaningConfig(keep_out=(keep_out,))

    def ingest():
        return corpus_stage(
            config, cleaning, THIRDS, fields=("text",), root=tmp_path / "stages", downloads=tmp_path / "downloads"
        )

    stage = ingest()
    assert stage.facts["dropped"]["kept_out"] == 2
    assert [row["position"] for row in read_quarantine(stage.path / QUARANTINE)] == [8, 61]
    benchmark.write_text("sentence\tlabel\nText 7\t1\n", encoding="utf-8")
    assert ingest().facts["dropped"]["kept_out"] == 1
