"""The page of a comparison: every slice with its figures, and the rows that lost and gained most beside each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy

from llm.families import load_family
from llm.files import write_jsonl
from llm.stages import Stage
from llm.statistics.measures import bleu_columns
from llm.statistics.verdict import PromotionPolicy, decide
from tasks.comparison_story import comparison_lines

ROWS = [{"source": f"Open door {n}", "target": f"Tür {n} bitte jetzt öffnen"} for n in range(40)]
RIGHT = [row["target"] for row in ROWS]


def stage(folder: Path, name: str) -> Stage:
    (folder / name).mkdir()
    return Stage(name=name, key=name, path=folder / name, manifest={}, reused=True)


def evaluation(folder: Path, name: str, answers: list[str]) -> Stage:
    found = stage(folder, name)
    write_jsonl(found.path / "answers.jsonl", ({"answer": answer} for answer in answers))
    safetensors.numpy.save_file({"columns": bleu_columns(answers, RIGHT)}, found.path / "columns.safetensors")
    return found


def page(folder: Path, champion: list[str], challenger: list[str]) -> list[str]:
    family = load_family("translation")
    corpus = stage(folder, "corpus")
    write_jsonl(corpus.path / "test.jsonl", ({"group": "g", **row} for row in ROWS))
    both = [evaluation(folder, name, answers) for name, answers in (("old", champion), ("new", challenger))]
    slices = {"half": np.arange(40) < 35}
    columns = [bleu_columns(answers, RIGHT) for answers in (champion, challenger)]
    verdict = decide(family.metric, *columns, slices=slices, policy=PromotionPolicy(), newer_data=False)
    return list(comparison_lines(family, verdict, corpus=corpus, champion=both[0], challenger=both[1], version=3))


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
