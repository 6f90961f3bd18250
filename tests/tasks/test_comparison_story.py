"""The page of a comparison: every slice with its figures, and the rows that lost and gained most beside each other."""

from __future__ import annotations

from pathlib import Path

from compared import FAMILY, RIGHT, compared

from tasks.comparison_story import comparison_lines


def page(folder: Path, champion: list[str], challenger: list[str]) -> list[str]:
    found = compared(folder, champion, challenger)
    stages = {"corpus": found.corpus, "champion": found.champion, "challenger": found.challenger}
    return list(comparison_lines(FAMILY, found.verdict, **stages, version=3))


def test_slices_stand_below_the_whole_and_the_rows_that_moved_most_follow(tmp_path: Path) -> None:
    challenger = [*RIGHT[:38], "Fenster | zu", "Tür 39 bitte jetzt schließen"]
    champion = ["Tür 0 bitte öffnen", *RIGHT[1:]]
    lines = page(tmp_path, champion, challenger)
    assert lines[0] == "## Against champion version 3, row by row (bleu)"
    whole, half = (line.split(" | ") for line in lines[4:6])
    assert (whole[0], whole[1], half[0], half[1]) == ("| all", "40", "| half", "35")
    moved = [line for line in lines if line.startswith(("| worse", "| better"))]
    assert [line.split(" | ")[1] for line in moved] == ["Open door 38", "Open door 39", "Open door 0"]
    # A bar in an answer does not break its cell.
    assert moved[0].endswith("| Tür 38 bitte jetzt öffnen | Tür 38 bitte jetzt öffnen | Fenster \\| zu |")
    assert moved[2].startswith("| better by ")


def test_where_no_row_moved_none_is_shown(tmp_path: Path) -> None:
    assert not any(line.startswith(("| worse", "| better")) for line in page(tmp_path, RIGHT, RIGHT))
