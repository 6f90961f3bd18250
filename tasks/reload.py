"""The gate's first check: a fresh process loads the logged model and must repeat what was predicted after training."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llm
from llm.files import read_json, write_json
from llm.processes import last_line, run_child
from llm.progress import waiting

_SHOWN = 80


@dataclass(frozen=True)
class ReloadResult:
    """Whether the logged model repeated its predictions, and one sentence on it."""

    ok: bool
    sentence: str


def check_reload(
    model_uri: str, predictions: Mapping[str, Any], *, tracking_uri: str, threads: int, tolerance: float
) -> ReloadResult:
    """Load `model_uri` in a new process and compare its answers with `predictions` (inputs, answers).

    `threads` is what the training used: it decides the last bits of sums, and so may decide between two tokens.
    """
    with tempfile.TemporaryDirectory(prefix="nightshift-") as temporary:
        asked, answered = Path(temporary) / "asked.json", Path(temporary) / "answered.json"
        write_json(asked, {"inputs": list(predictions["inputs"])})
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": tracking_uri,
            "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
            "OMP_NUM_THREADS": str(threads),
            # The current folder may hold a file that is called like a library; ours is named here.
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": str(Path(llm.__file__).parents[1]),
        }
        command = [sys.executable, "-m", "tasks.reload_check", model_uri, str(asked), str(answered)]
        with waiting("loading the logged model in a fresh process"):
            code, errors = run_child(command, environment=environment, folder=Path(temporary))
        if code != 0:
            return ReloadResult(False, f"the logged model does not load in a fresh process: {last_line(errors)}")
        found = read_json(answered)
    if Path(found["code"]).is_relative_to(Path(llm.__file__).parent):
        return ReloadResult(False, f"the logged model ran the code in {found['code']} in place of its own copy")
    return compare(predictions["answers"], found["answers"], tolerance=tolerance)


def compare(expected: Sequence[Any], found: Sequence[Any], *, tolerance: float) -> ReloadResult:
    """Texts must be the same to the letter, numbers in records within `tolerance`."""
    if len(expected) != len(found):
        return ReloadResult(False, f"the logged model gave {len(found)} answers to {len(expected)} inputs")
    for number, (before, after) in enumerate(zip(expected, found, strict=True)):
        if not _same(before, after, tolerance=tolerance):
            return ReloadResult(
                False,
                f"the logged model answers input {number} with {_short(after)}, after training it was {_short(before)}",
            )
    return ReloadResult(True, f"loads in a fresh process and repeats {len(expected)} of {len(expected)} predictions")


def _same(before: Any, after: Any, *, tolerance: float) -> bool:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return before.keys() == after.keys() and all(
            _same(before[name], after[name], tolerance=tolerance) for name in before
        )
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(
            _same(one, other, tolerance=tolerance) for one, other in zip(before, after, strict=True)
        )
    if isinstance(before, float) and isinstance(after, float):
        return abs(before - after) <= tolerance
    return bool(before == after)


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
