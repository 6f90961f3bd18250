"""The closing report: real figures beside baselines, what was reused, answers as they are."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.summary import Sample, answer_line, figures_table, show_run, stages_table
from deployments.tables import one_line, printable, table


@pytest.fixture
def summary() -> dict[str, Any]:
    """What the flow `retrain` returns for a refused challenger."""
    return {
        "family": "translation",
        "stages": [
            {"name": "corpus", "key": "aaaa", "reused": True, "seconds": 0.0},
            {"name": "training", "key": "bbbb", "reused": False, "seconds": 123.45},
        ],
        "metrics": {"bleu": 21.456, "chrf": 40.0},
        "baselines": {"copy_source": {"bleu": 16.5}},
        "decision": "refused",
        "reasons": ["is worse than champion version 1"],
        "version": 2,
        "champion": {"version": 1, "metrics": {"bleu": 22.0, "chrf": 41.0}},
        "mlflow_run_id": "r",
    }


def test_the_figures_stand_beside_champion_and_baselines(summary: dict[str, Any]) -> None:
    assert figures_table(summary).splitlines() == [
        "  on the test split (bleu decides)   bleu   chrf",
        "  version 2                         21.46  40.00",
        "  version 1 (champion)              22.00  41.00",
        "  baseline copy_source              16.50      -",
    ]


def test_a_new_champion_is_not_listed_twice(summary: dict[str, Any]) -> None:
    summary["champion"] = {"version": 2, "metrics": summary["metrics"]}
    assert "champion" not in figures_table(summary)


def test_each_stage_says_whether_it_was_built_or_reused(summary: dict[str, Any]) -> None:
    assert [line.split(maxsplit=1) for line in stages_table(summary["stages"]).splitlines()[1:]] == [
        ["corpus", "reused            aaaa"],
        ["training", "built in 123.5 s  bbbb"],
    ]


def test_where_nothing_is_new_one_sentence_says_so_in_place_of_figures(summary: dict[str, Any]) -> None:
    summary |= {"decision": "nothing new", "reasons": ["version 2 was made before"], "stages": summary["stages"][:1]}
    assert show_run(summary, []).splitlines() == [
        "translation: nothing new",
        "========================",
        "- version 2 was made before",
        "",
        "  stage           key",
        "  corpus  reused  aaaa",
    ]


def test_short_answers_stand_beside_the_right_ones(summary: dict[str, Any]) -> None:
    text = show_run(summary, [Sample("Turn on", "Einschalten", "Anschalten")])
    assert text.startswith("translation: version 2 refused\n==")
    assert "- is worse than champion version 1" in text
    assert text.endswith("  Turn on\n    champion  Einschalten\n    right     Anschalten")


def test_an_open_ended_continuation_keeps_its_lines(summary: dict[str, Any]) -> None:
    text = show_run(summary, [Sample("HAMLET\nTo be,\n", "or not\nto be.", None)])
    assert text.endswith("    | HAMLET\n    | To be,\n      or not\n      to be.")


def test_answers_are_printed_for_people_and_scripts() -> None:
    assert answer_line("Einschalten") == "Einschalten"
    assert answer_line({"label": "de", "score": 0.98765}) == "de\t0.9877"
    assert answer_line({"label": "de", "score": 0.9, "top": [["de", 0.9], ["nl", 0.05]]}) == (
        "de\t0.9000\tde 0.9000, nl 0.0500"
    )


def test_columns_of_figures_stand_to_the_right_and_texts_to_the_left() -> None:
    assert table(["name", "count"], [["a", "1,000"], ["bbbbbb", "7"]], indent="").splitlines() == [
        "name    count",
        "a       1,000",
        "bbbbbb      7",
    ]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\td") == "a\ufffd[2Jb\nc\td"
    assert "\x1b" not in one_line("\x1b[2J", longest=10)


def test_one_line_cuts_at_the_length_that_is_asked_for() -> None:
    assert one_line("a\n b", longest=10) == "a b"
    assert one_line("abcdefgh", longest=5) == "abcd…"
