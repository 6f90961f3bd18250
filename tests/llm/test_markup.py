"""Pieces of HTML pages: text is escaped wherever it stands, markup of ours is not."""

from __future__ import annotations

from html_page import Page

from llm.markup import Markup, bar, page, table

EVIL = "</td><script>x</script>"


def test_text_is_escaped_in_title_head_and_cells() -> None:
    text = page(EVIL, [table((EVIL, "count#"), [(EVIL, "1,000")])])
    assert "script" not in Page(text).tags
    assert Page(text).rows[-1] == [EVIL, "1,000"]


def test_figures_stand_right_and_bars_fill_their_cell() -> None:
    text = table(("name", "count#", ""), [("a", 3, bar(0.5)), ("b", Markup("<b>4</b>"), "")])
    assert "<td>a</td><td class=n>3</td><td class=bar><div class='fill' style='width:50.0%'></div></td>" in text
    assert "<td class=n><b>4</b></td><td></td>" in text


def test_a_table_without_rows_says_none() -> None:
    assert table(("a",), []) == "<p>none</p>"
