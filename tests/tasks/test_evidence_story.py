"""The evidence on the flow run's page: tables that nothing can break out of, and where the pictures are."""

from __future__ import annotations

from pathlib import Path

from llm.files import write_json
from llm.stages import Stage
from llm.statistics.measures import Accuracy
from tasks.evidence_story import evidence_lines

FOUND = {
    "figures": {"calibration_error": 1.23456},
    "tables": [{"title": "Samples", "note": "Drawn.", "head": ["text", "score"], "rows": [["a | <b>\nc", 0.98765]]}],
    "weaknesses": ["Most often takes a for b."],
    "slices": [{"name": "label: x|y", "rows": 40, "value": 87.5, "low": 80.0, "high": 95.0}],
    "data": {},
    "pictures": ["confusion.png"],
}


def page(folder: Path, *, run_url: str | None = None) -> list[str]:
    (folder / "evidence").mkdir()
    write_json(folder / "evidence" / "evidence.json", FOUND)
    evaluation = Stage(name="evaluation", key="k", path=folder, manifest={}, reused=True)
    return list(evidence_lines(Accuracy(), evaluation, run_url=run_url))


def test_weaknesses_come_first_then_figures_slices_and_tables(tmp_path: Path) -> None:
    lines = page(tmp_path)
    order = [
        "## Evidence",
        "- Most often takes a for b.",
        "- calibration_error 1.235",
        "- confusion.png and evidence.json: folder `evidence` of the MLflow run",
        "### accuracy by slice, worst first",
        "| label: x\\|y | 40 | 87.5 (80 to 95) |",
        "### Samples",
        "Drawn.",
        "| a \\| &lt;b> c | 0.9877 |",
    ]
    assert [line for line in lines if line in order] == order


def test_where_a_server_shows_pages_the_pictures_are_a_link_away(tmp_path: Path) -> None:
    url = "http://127.0.0.1:5000/#/experiments/1/runs/r"
    assert any(f"folder [evidence]({url}/artifacts) of" in line for line in page(tmp_path, run_url=url))
