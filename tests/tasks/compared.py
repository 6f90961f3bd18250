"""Two made evaluations of translations and their verdict, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.numpy

from llm.families import load_family
from llm.files import write_jsonl
from llm.stages import Stage
from llm.statistics.measures import bleu_columns
from llm.statistics.verdict import PromotionPolicy, Verdict, decide

ROWS = [{"source": f"Open door {n}", "target": f"Tür {n} bitte jetzt öffnen"} for n in range(40)]
RIGHT = [row["target"] for row in ROWS]
FAMILY = load_family("translation")


@dataclass(frozen=True)
class Compared:
    """Forty rows, what both models got for them, and what follows; the slice `half` holds the first 35."""

    corpus: Stage
    champion: Stage
    challenger: Stage
    verdict: Verdict


def compared(folder: Path, champion: list[str], challenger: list[str]) -> Compared:
    """The comparison of two models with these answers."""
    corpus = _stage(folder, "corpus")
    write_jsonl(corpus.path / "test.jsonl", ({"group": "g", **row} for row in ROWS))
    columns = [bleu_columns(answers, RIGHT) for answers in (champion, challenger)]
    slices = {"half": np.arange(40) < 35}
    return Compared(
        corpus=corpus,
        champion=_evaluation(folder, "old", champion),
        challenger=_evaluation(folder, "new", challenger),
        verdict=decide(FAMILY.metric, *columns, slices=slices, policy=PromotionPolicy(), newer_data=False),
    )


def _stage(folder: Path, name: str) -> Stage:
    (folder / name).mkdir()
    return Stage(name=name, key=name, path=folder / name, manifest={}, reused=True)


def _evaluation(folder: Path, name: str, answers: list[str]) -> Stage:
    found = _stage(folder, name)
    write_jsonl(found.path / "answers.jsonl", ({"answer": answer} for answer in answers))
    safetensors.numpy.save_file({"columns": bleu_columns(answers, RIGHT)}, found.path / "columns.safetensors")
    return found
