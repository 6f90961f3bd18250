"""The page of a corpus: complete, self-contained, and safe whatever the texts hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from html_page import Page

from llm.cleaning.config import CleaningConfig
from llm.corpora.local_files import LocalFilesConfig
from llm.ingest.corpus import corpus_stage
from llm.ingest.report import is_page_of, previous_corpus, render_report
from llm.splits import SplitConfig
from llm.stages import Stage

EVIL = "<script>alert('a')</script>"
THIRDS = SplitConfig(validation=0.3, test=0.3)


def ingest(folder: Path, rows: list[dict[str, object]], **cleaning: object) -> Stage:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    columns = {"text": "body", "label": "topic"}
    config = LocalFilesConfig(format="jsonl", paths=(str(path),), columns=columns, terms=EVIL)
    options = CleaningConfig(maximum_bad_share=0.5, **cleaning)
    return corpus_stage(config, options, THIRDS, fields=("text", "label"), root=folder / "stages", downloads=folder)


def rows(count: int) -> list[dict[str, object]]:
    return [{"body": f"Body {number}", "topic": ("x", EVIL)[number % 2]} for number in range(count)]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    bad = [{"body": EVIL, "topic": ""}, {"body": "\x00 " + EVIL}, {"body": " ", "topic": "x"}]
    return ingest(tmp_path, [*rows(100), *bad, rows(1)[0]])


def test_the_page_says_where_every_record_went(stage: Stage) -> None:
    page = Page(render_report(stage, None))
    cells = {row[0]: row[1] for row in page.rows if len(row) > 1}
    assert cells["read"] == "104"
    assert cells["kept"] == "100"
    for step in ("missing_label", "missing_column", "blank", "duplicate"):
        assert cells[f"dropped: {step}"] == "1"
    assert sum(int(cells[split]) for split in ("train", "validation", "test")) == 100
    assert cells["4 to 7"] == "100"  # bytes of "Body 0" to "Body 99": 6 and 7
    assert cells["x"] == cells[EVIL] == "50"


def test_texts_labels_and_terms_are_shown_and_never_run(stage: Stage) -> None:
    page = Page(render_report(stage, None))
    assert any(EVIL in cell for row in page.rows for cell in row)
    assert "script" not in page.tags
    assert page.attributes <= {"lang", "charset", "class", "style"}


def test_the_page_needs_nothing_from_elsewhere(stage: Stage) -> None:
    text = render_report(stage, None)
    assert "http" not in text
    assert "url(" not in text
    assert Page(text).tags.isdisjoint({"link", "img", "iframe", "object", "embed"})


def test_the_drift_is_since_the_newest_corpus_of_the_same_options(tmp_path: Path) -> None:
    first = ingest(tmp_path, rows(60))
    assert previous_corpus(first) is None
    assert "no earlier corpus" in render_report(first, None)
    ingest(tmp_path, rows(60), minimum_characters=2)
    more = [
        {"body": "A much longer body than those before it " * 4 + str(number), "topic": "x"} for number in range(30)
    ]
    second = ingest(tmp_path, [*rows(60), *more])
    before = previous_corpus(second)
    assert before is not None
    assert before.key == first.key
    page = Page(render_report(second, before))
    cells = {row[0]: row[1:] for row in page.rows if len(row) == 4}
    assert cells["records kept"] == ["60", "90", "+30"]
    assert cells["label x"] == ["50.0%", "66.7%", "+16.7%"]
    assert cells["lengths: distance of all shares"] == ["", "", "33.3%"]
    assert cells["lengths from 128 bytes"] == ["0.0%", "33.3%", "+33.3%"]


def test_the_languages_are_those_of_the_texts_that_are_long_enough_and_their_drift_is_told(tmp_path: Path) -> None:
    english = [{"body": f"This is the sentence about the weather of day {n}.", "topic": "xy"[n % 2]} for n in range(60)]
    german = [{"body": f"Das ist ein ganz anderer Satz über das Wetter, Tag {n}.", "topic": "x"} for n in range(30)]
    first = ingest(tmp_path, [*rows(40), *english])
    assert first.facts["languages"] == {"drawn": 100, "fields": {"text": {"en": 60}}}
    second = ingest(tmp_path, [*rows(40), *english, *german])
    assert second.facts["languages"]["fields"] == {"text": {"en": 60, "de": 30}}
    page = Page(render_report(second, first))
    assert [row[:3] for row in page.rows if row and row[0] == "text"] == [["text", "en", "60"], ["text", "de", "30"]]
    cells = {row[0]: row[1:] for row in page.rows if len(row) == 4}
    assert cells["language de of text"] == ["0.0%", "33.3%", "+33.3%"]


def test_the_languages_of_a_large_corpus_are_those_of_four_hundred_records(tmp_path: Path) -> None:
    stage = ingest(tmp_path, rows(500))
    assert stage.facts["languages"] == {"drawn": 400, "fields": {"text": {}}}


def test_a_page_is_known_by_its_corpus_and_not_by_the_one_before(tmp_path: Path) -> None:
    first, second = ingest(tmp_path, rows(30)), ingest(tmp_path, rows(60))
    path = tmp_path / "corpus.html"
    assert not is_page_of(path, second)
    path.write_text(render_report(second, first), encoding="utf-8")
    assert is_page_of(path, second)
    assert not is_page_of(path, first)
