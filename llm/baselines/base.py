"""What a baseline reads and returns, and the stage that runs all baselines of a family."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.errors import CorpusError
from llm.files import write_jsonl
from llm.stages import Stage, StageSpec, run_stage
from llm.tokens import TokenTable, rows_of

_log = logging.getLogger(__name__)

# Raise it whenever a baseline or a metric gives another figure for the same data.
_STAGE_VERSION = 1


@dataclass(frozen=True)
class BaselineData:
    """The data that a model gets, no more: folders of the corpus stage and of the tokens stage."""

    corpus: Path
    tokens: Path

    def rows(self, split: str) -> list[dict[str, str]]:
        """The corpus rows of a split (train, validation, test).

        Raises CorpusError when it has none.
        """
        rows = rows_of(self.corpus, split)
        if not rows:
            raise CorpusError(
                f"{self.corpus / f'{split}.jsonl'}: no rows, so there is nothing to score a baseline on",
                remedy="give the corpus more groups, or this split a larger share of them",
            )
        return rows

    def table(self, split: str) -> TokenTable:
        """The same rows as the model's tokens."""
        return TokenTable.load(self.tokens / f"{split}.safetensors")


@dataclass(frozen=True)
class BaselineResult:
    """`metrics` on the test split, named and scaled as the model's; `answers` one a test row, or none."""

    metrics: dict[str, float]
    answers: list[str]


Baseline = Callable[[BaselineData], BaselineResult]


def baselines_stage(
    corpus: Stage, tokens: Stage, *, baselines: Mapping[str, Baseline], family: str, root: Path
) -> Stage:
    """Score every baseline on the test split.

    The stage's facts are {baseline: {metric: value}}; its folder holds `answers-<baseline>.jsonl`, one {"answer": text}
    a test row, for the baselines that answer.
    """
    functions = {name: f"{function.__module__}.{function.__qualname__}" for name, function in baselines.items()}
    spec = StageSpec(
        name="baselines",
        version=_STAGE_VERSION,
        config={"family": family, "baselines": functions},
        inputs={"corpus": corpus, "tokens": tokens},
    )
    data = BaselineData(corpus=corpus.path, tokens=tokens.path)

    def build(folder: Path) -> dict[str, Any]:
        return {name: _run(name, function, data=data, folder=folder) for name, function in baselines.items()}

    return run_stage(spec, build, root=root)


def _run(name: str, baseline: Baseline, *, data: BaselineData, folder: Path) -> dict[str, float]:
    started = time.monotonic()
    result = baseline(data)
    seconds = time.monotonic() - started
    if result.answers:
        rows = len(data.rows("test"))
        if len(result.answers) != rows:
            raise ValueError(f"baseline {name} gave {len(result.answers)} answers for {rows} test rows")
        write_jsonl(folder / f"answers-{name}.jsonl", ({"answer": answer} for answer in result.answers))
    figures = ", ".join(f"{metric} {value:.4g}" for metric, value in result.metrics.items())
    _log.info("baseline %s: %s (%.1f s)", name, figures, seconds)
    return result.metrics
