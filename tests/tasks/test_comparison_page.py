"""The HTML page of a comparison: complete, self-contained, and safe whatever the models answered."""

from __future__ import annotations

import re
from pathlib import Path

from compared import FAMILY, RIGHT, Compared, compared
from html_page import Page

from tasks.comparison_page import render_comparison
from tasks.gate import Decision, Outcome

EVIL = "<script>alert(1)</script>"
# Worse in every row, in the last with markup.
WORSE = [*(right.replace("bitte jetzt", "sofort") for right in RIGHT[:39]), EVIL]


def html(found: Compared, outcome: Outcome = "refused") -> str:
    decision = Decision(outcome=outcome, reasons=found.verdict.reasons, checks=(), verdict=found.verdict)
    sides = {"champion": (3, found.champion), "challenger": (4, found.challenger)}
    return render_comparison(FAMILY, decision, found.verdict, corpus=found.corpus, **sides)


def test_a_refusal_says_why_and_shows_worst_rows_with_the_words_that_are_wrong(tmp_path: Path) -> None:
    text = html(compared(tmp_path, RIGHT, WORSE))
    assert "translation: version 4 against champion version 3: refused</h1>" in text
    assert "<h2>Why not</h2><ul><li>The challenger is worse: bleu" in text.replace("\n", "")
    rows = Page(text).rows
    assert [row[0] for row in rows if row and row[1:2] == ["40"]] == ["all rows"]
    lost = [row for row in rows if row and row[0].startswith("worse by")]
    assert len(lost) == 25
    assert lost[0][1:4] == ["Open door 39", RIGHT[39], RIGHT[39]]
    assert "Tür 7 <mark>sofort</mark> öffnen" in text
    # What the champion wrote was right: nothing of it is marked.
    assert f"<mark>{RIGHT[39]}</mark>" not in text


def test_the_slice_that_refuses_is_marked_and_the_bars_lie_on_the_side_of_worse(tmp_path: Path) -> None:
    text = html(compared(tmp_path, RIGHT, WORSE))
    assert "<mark>half</mark>" in text
    ends = [float(x) + float(w) for x, w in re.findall(r"<rect x='([\d.]+)' y='5.0' width='([\d.]+)'", text)]
    assert len(ends) == 2
    assert all(end < 100 for end in ends)


def test_what_models_wrote_stays_text_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    text = html(compared(tmp_path, RIGHT, WORSE))
    assert EVIL not in text
    assert "&lt;script&gt;" in text
    page = Page(text)
    assert not page.tags & {"script", "img", "link", "iframe"}
    assert not page.attributes & {"src", "href", "onload", "onclick"}


def test_a_promotion_shows_what_it_won_and_that_nothing_was_lost(tmp_path: Path) -> None:
    text = html(compared(tmp_path, WORSE, RIGHT), outcome="promoted")
    assert "<h2>Why</h2>" in text
    assert "<h2>Rows in which the challenger is worse</h2>\n<p>none</p>" in text
    assert sum(row[0].startswith("better by") for row in Page(text).rows if row) == 25
