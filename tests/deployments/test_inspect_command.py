"""`nightshift inspect`: one screen about a source, or one line that says what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.cli import app

runner = CliRunner()


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.csv"
    rows = [f"The printer number {number} is on fire,{('it', 'fire brigade')[number % 2]}" for number in range(40)]
    path.write_text("\n".join(["body,team", *rows, '"never closed,it', "no team,"]) + "\n", encoding="utf-8")
    return path


def test_a_file_is_told_of_in_words_that_fit_a_recipe(tickets: Path) -> None:
    done = runner.invoke(app, ["inspect", str(tickets)], catch_exceptions=False)
    assert done.exit_code == 0
    for line in (
        "  format: csv",
        "    text: body",
        "1 file; 42 records read",
        "2 labels: it 20, fire brigade 20",
        "sample 1",
        f"  quotes: {tickets}, 42: a quote opens a cell and nothing closes it",
        f"  missing_label: {tickets}, 43: has no label",
    ):
        assert line in done.stdout
    assert "en 40" in done.stdout


def test_options_say_what_the_name_does_not(tmp_path: Path) -> None:
    path = tmp_path / "notes.log"
    path.write_text("One.\nTwo.\n", encoding="utf-8")
    done = runner.invoke(app, ["inspect", str(path)])
    assert done.exit_code == 2
    assert "--set corpus.format=txt" in done.stderr
    settings = ["--set", "corpus.format=txt", "--set", "corpus.document=line", "--most", "1"]
    done = runner.invoke(app, ["inspect", str(path), *settings], catch_exceptions=False)
    assert "1 records read, and there are more" in done.stdout


def test_a_control_character_in_a_text_does_not_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n\nbell \x07 and \x1b[2J\xff\n")
    done = runner.invoke(app, ["inspect", str(path)], catch_exceptions=False)
    assert "not_utf8" in done.stdout
    assert not {"\x07", "\x1b"} & set(done.stdout)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    done = runner.invoke(app, ["inspect", str(tmp_path / "none.txt")])
    assert done.exit_code == 2
    assert "no such file" in done.stderr
