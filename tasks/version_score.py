"""How good a registered version is, on its own corpus or on rows that it never saw; needs no Prefect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm.config import parse_config
from llm.corpora import CorpusConfig
from llm.evaluate import evaluation_stage
from llm.families import load_family
from llm.files import canonical_json
from llm.home import downloads_folder, stages_folder
from llm.ingest.corpus import corpus_stage
from llm.ingest.scored_rows import scored_rows_stage
from llm.model.folder import read_description
from llm.recipe import Recipe
from llm.stages import Stage
from tasks.figures import figures
from tasks.markdown import cell, table
from tasks.registry.evaluations import EvaluationRun, log_evaluation
from tasks.registry.folders import champion_folder
from tasks.registry.runs import DatasetRecord
from tasks.registry.versions import Version


@dataclass(frozen=True)
class VersionScore:
    """The figures of a version on the test rows of `data`; `rows`: how many there are."""

    version: Version
    data: Stage
    rows: int
    evaluation: Stage

    @property
    def metrics(self) -> dict[str, float]:
        """By name."""
        metrics: dict[str, float] = self.evaluation.facts["metrics"]
        return metrics

    @property
    def title(self) -> str:
        """`translation version 3 on 240 rows of local_files: bleu 21.5`."""
        name = f"{self.version.family} version {self.version.version}"
        return f"{name} on {self.rows:,} rows of {self.data.facts['source']}: {figures(self.metrics)}"

    def page(self) -> str:
        """Markdown: the figures beside those that the version was registered with, and what was scored."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        facts = self.data.facts
        yield f"# {cell(self.title, longest=300)}"
        yield ""
        names = list(self.metrics)
        rows = {"here": self.metrics, "when it was registered": self.version.metrics}
        yield from table(["", *names], [[name, *_values(values, names)] for name, values in rows.items()])
        yield ""
        yield f"{facts['read']:,} records read; dropped: {_dropped(facts['dropped'])}."
        yield ""
        yield f"- Data: `{cell(canonical_json(facts['origin']), longest=400)}`, key `{self.data.key}`"
        yield f"- Model: `{self.version.uri}`, training key `{self.version.training_key}`"
        yield f"- Answers, row by row: `{self.evaluation.path}`"


def score_version(version: Version, corpus: CorpusConfig | None, *, threads: int) -> VersionScore:
    """Score a version on all rows of `corpus`, or (None) on the test split of its own corpus, as that is now.

    Raises CorpusError, DownloadError or ConfigError when there are no such rows, ChecksumError when a file of the model
    is not the one that was registered, StageError when it cannot be scored.
    """
    folder = champion_folder(version)
    if corpus is None:
        data, rows = _own_rows(folder)
    else:
        data = scored_rows_stage(
            corpus, fields=load_family(version.family).fields, root=stages_folder(), downloads=downloads_folder()
        )
        rows = int(data.facts["rows"])
    evaluation = evaluation_stage(folder, version.training_key, data, threads=threads, root=stages_folder())
    return VersionScore(version, data, rows, evaluation)


def log_score(score: VersionScore, *, tags: Mapping[str, str]) -> EvaluationRun:
    """Keep a score as an MLflow run of its own, linked to the version."""
    facts = score.data.facts
    data = DatasetRecord(
        name=f"{facts['source']}/test",
        digest=score.data.key,
        source=canonical_json(facts["origin"]),
        context="evaluation",
        facts={"rows": score.rows},
    )
    return log_evaluation(score.version, score.metrics, data, tags=tags, page=score.page())


def _own_rows(folder: Path) -> tuple[Stage, int]:
    recipe = parse_config(Recipe, read_description(folder)["recipe"], where=f"recipe of {folder}")
    stage = corpus_stage(
        recipe.corpus,
        recipe.cleaning,
        recipe.splits,
        fields=load_family(recipe.family).fields,
        root=stages_folder(),
        downloads=downloads_folder(),
    )
    return stage, int(stage.facts["splits"]["test"]["rows"])


def _values(metrics: Mapping[str, float], names: list[str]) -> list[str]:
    return [f"{metrics[name]:.4g}" if name in metrics else "" for name in names]


def _dropped(counts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"
