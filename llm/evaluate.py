"""The evaluation stage: a model folder is scored on a test split, in a process of its own.

Champion and challenger are scored by the same code under the same conditions, and neither sees what the other left in
memory. `python -m llm.evaluate --model FOLDER --corpus FOLDER --out FOLDER --threads N` is that process.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from llm.errors import KilledError, StageError
from llm.evidence.attention import attention_maps
from llm.evidence.gather import EVIDENCE_FILE, write_evidence
from llm.files import read_json, write_json, write_jsonl
from llm.predictor import Predictor
from llm.processes import end_with_parent, last_line, run_child
from llm.progress import waiting
from llm.stages import Stage, StageSpec, run_stage
from llm.statistics.intervals import intervals
from llm.tokens import read_rows, rows_of
from llm.training.machine import deterministic

_VERSION = 8
_LONGEST_S = 3600.0
_RESULT = "evaluation.json"
ANSWERS_FILE = "answers.jsonl"
EVIDENCE_FOLDER = "evidence"
_COLUMNS_FILE = "columns.safetensors"


def evaluation_stage(model: Path, model_key: str, corpus: Stage, *, threads: int, root: Path) -> Stage:
    """Score the model in folder `model` on the test split of `corpus`.

    `model_key` says which model it is, wherever its folder lies. Facts: `metrics`, their `intervals` (95 %, each
    [low, high]) and `details`; the folder holds answers.jsonl, one row a test row, for families that answer, and what
    `row_columns` and `evidence_of` read.

    Raises StageError with the child's last line when it fails, KilledError when it is killed.
    """
    spec = StageSpec(
        name="evaluation", version=_VERSION, config={"threads": threads}, inputs={"model": model_key, "corpus": corpus}
    )

    def build(folder: Path) -> dict[str, Any]:
        folders = {"--model": model, "--corpus": corpus.path, "--out": folder}
        arguments = [part for name, path in folders.items() for part in (name, str(path.resolve()))]
        command = [sys.executable, "-m", "llm.evaluate", *arguments, "--threads", str(threads)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": str(threads)}
        with waiting("scoring the test split"):
            code, errors = run_child(command, environment=environment, folder=folder, longest=_LONGEST_S)
        if code < 0:
            raise KilledError(
                f"{model}: the process that scores it was ended by signal {-code}",
                remedy="look whether memory ran out, and run again: what is finished is kept",
            )
        if code != 0:
            raise StageError(
                f"{model}: cannot be scored: {last_line(errors)}", remedy="see the message; the champion is untouched"
            )
        facts: dict[str, Any] = read_json(folder / _RESULT)
        return facts

    return run_stage(spec, build, root=root)


def score(model: Path, corpus: Path, *, out: Path, threads: int) -> None:
    """Write evaluation.json (metrics, intervals, details), answers.jsonl and the folder `evidence` into `out`."""
    with deterministic(threads):
        predictor = Predictor.load(model)
        family, rows = predictor.family, rows_of(corpus, "test")
        evaluation = family.evaluate(predictor, rows)
        evidence = family.evidence(predictor, rows, evaluation, read_rows(corpus, "train"))
        attention = attention_maps(predictor, rows)
    write_jsonl(out / ANSWERS_FILE, ({"answer": answer} for answer in evaluation.answers))
    safetensors.numpy.save_file({"columns": evaluation.columns}, out / _COLUMNS_FILE)
    facts = {"metrics": evaluation.metrics, "intervals": intervals(evaluation.sums), "details": evaluation.details}
    write_evidence(out / EVIDENCE_FOLDER, family, rows, evaluation, evidence, attention)
    write_json(out / _RESULT, facts)


def evidence_of(evaluation: Stage) -> dict[str, Any]:
    """What an evaluation shows besides its metrics: figures, tables, weaknesses, slices, data, names of pictures."""
    found: dict[str, Any] = read_json(evaluation.path / EVIDENCE_FOLDER / EVIDENCE_FILE)
    return found


def row_columns(evaluation: Stage) -> NDArray[np.float64]:
    """(N, K) what each test row adds to the sums of the family's metric."""
    columns: NDArray[np.float64] = safetensors.numpy.load_file(evaluation.path / _COLUMNS_FILE)["columns"]
    return columns


def main() -> None:
    """The child process."""
    parser = argparse.ArgumentParser(prog="python -m llm.evaluate", description=__doc__)
    for name, meaning in (("model", "model folder"), ("corpus", "corpus stage folder"), ("out", "where to write")):
        parser.add_argument(f"--{name}", type=Path, required=True, help=meaning)
    parser.add_argument("--threads", type=int, required=True, help="CPU threads")
    arguments = parser.parse_args()
    end_with_parent()
    score(arguments.model, arguments.corpus, out=arguments.out, threads=arguments.threads)


if __name__ == "__main__":
    main()
