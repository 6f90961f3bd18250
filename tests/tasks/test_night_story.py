"""The page of a night: one line a family, whatever became of it."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.night_story import FamilyNight, Spent, headline, night_page, peak_megabytes


def summary(family: str, decision: str, metrics: dict[str, float], **more: Any) -> dict[str, Any]:
    return {
        "family": family,
        "decision": decision,
        "version": 7,
        "metrics": metrics,
        "intervals": {},
        "before": None,
        **more,
    }


NIGHTS = [
    FamilyNight(
        "translation",
        Spent(754.0, 1401.0),
        summary=summary(
            "translation",
            "promoted",
            {"bleu": 24.1, "chrf": 50.0},
            intervals={"bleu": [23.5, 24.7]},
            before={"version": 6, "metrics": {"bleu": 21.34}},
        ),
    ),
    FamilyNight(
        "classification", Spent(2.0, 1.5), summary=summary("classification", "nothing new", {"accuracy": 95.7})
    ),
    FamilyNight("generation", Spent(61.0, 40.0), error="/data/a|b.txt: not found"),
]


def rows(page: str) -> dict[str, list[str]]:
    lines = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if line.startswith("|")
    ]
    return {cells[0]: cells[1:] for cells in lines[2:]}


def test_each_family_has_its_outcome_its_figure_before_and_after_its_version_and_its_cost() -> None:
    found = rows(night_page(NIGHTS, flow_runs={}))
    assert found["translation"][:3] == ["promoted", "bleu 21.34 → 24.1 (23.5 to 24.7)", "`models:/translation/7`"]
    assert found["translation"][3:5] == ["13 min", "23 min"]
    assert found["classification"][:2] == ["nothing new", "accuracy 95.7"]


def test_a_family_that_failed_says_why_without_breaking_the_table() -> None:
    assert rows(night_page(NIGHTS, flow_runs={}))["generation"][:3] == [r"failed: /data/a\|b.txt: not found", "", ""]


def test_versions_and_flow_runs_are_links_where_servers_show_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    found = rows(night_page(NIGHTS, flow_runs={"generation": "http://127.0.0.1:4200/runs/flow-run/1"}))
    version = "[`models:/translation/7`](http://127.0.0.1:5000/#/models/translation/versions/7)"
    assert found["translation"][2] == version
    assert found["generation"][-1].startswith("[page](http://127.0.0.1:4200/runs/flow-run/1)")


def test_the_headline_names_the_families_by_outcome() -> None:
    assert headline(NIGHTS) == "promoted: translation; nothing new: classification; failed: generation"


def test_what_was_spent_is_counted_with_the_processes_that_were_waited_for() -> None:
    start = Spent.now()
    sum(range(3_000_000))
    spent = Spent.now().since(start)
    assert spent.seconds > 0
    assert spent.cpu_seconds > 0
    assert peak_megabytes() > 10


def test_a_family_that_had_no_time_left_is_no_failure() -> None:
    unstarted = FamilyNight("generation", Spent(0.0, 0.0))
    assert headline([unstarted]) == "no time left: generation"
    assert rows(night_page([unstarted], flow_runs={}))["generation"][:3] == ["no time left", "", ""]
