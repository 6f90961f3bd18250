"""The story of one retraining: as a JSON summary, and as the markdown page that people read in the morning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.families import load_family
from llm.files import read_json, read_jsonl
from llm.recipe import Recipe
from llm.splits import SPLITS
from llm.stages import Stage
from llm.statistics.intervals import RESAMPLES
from llm.training.stage import HISTORY_FILE, PREDICTIONS_FILE
from tasks.comparison_page import PAGE
from tasks.comparison_story import comparison_lines
from tasks.evidence_story import evidence_lines
from tasks.figures import sparkline, within
from tasks.markdown import cell, plain, table
from tasks.outcome import Outcome
from tasks.registry.connection import version_link
from tasks.stages import how

_SAMPLES = 6


@dataclass(frozen=True)
class Story:
    """Stages and outcome of one retraining, and where its MLflow run is (`run_url` None: no server shows pages)."""

    recipe: Recipe
    corpus: Stage
    tokenizer: Stage
    tokens: Stage
    baselines: Stage
    training: Stage
    evaluation: Stage
    outcome: Outcome
    tracking_uri: str
    run_url: str | None
    flow_run_url: str | None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In the order of the work."""
        return (self.corpus, self.tokenizer, self.tokens, self.baselines, self.training, self.evaluation)

    @property
    def metrics(self) -> dict[str, float]:
        """The model's figures on the test split."""
        metrics: dict[str, float] = self.evaluation.facts["metrics"]
        return metrics

    def summary(self) -> dict[str, Any]:
        """What the flow returns."""
        return self.outcome.summary(
            stages=self.stages,
            metrics=self.metrics,
            baselines=self.baselines.facts,
            intervals=self.evaluation.facts["intervals"],
        )

    def markdown(self) -> str:
        """The page: decision first, then data, model, figures, samples and where to look further."""
        sections = [
            self._decision(),
            self._links(),
            self._figures(),
            self._comparison(),
            self._curve(),
            self._samples(),
            self._evidence(),
            self._data(),
            self._stages(),
        ]
        return "\n\n".join(filter(None, ("\n".join(lines) for lines in sections))) + "\n"

    def _decision(self) -> Iterator[str]:
        yield f"# {self.outcome.title}"
        yield ""
        yield from (f"- {cell(reason, longest=400)}" for reason in self.outcome.reasons)

    def _figures(self) -> Iterator[str]:
        metric = load_family(self.recipe.family).metric
        names = list(self.metrics)
        rows = [[f"**version {self.outcome.version.version}**", *_values(self.metrics, names, of=self.evaluation)]]
        rows += [[name, *_values(values, names)] for name, values in self.baselines.facts.items()]
        before = self.outcome.champion_before
        if before is not None:
            rows.append([f"champion version {before.version}", *_values(before.metrics, names, of=before.evaluation)])
        wanted = "higher" if metric.higher_is_better else "lower"
        yield f"## On the test split ({metric.name} decides, {wanted} is better)"
        yield ""
        yield from table(["", *names], rows)
        yield ""
        yield f"In brackets 95 % bootstrap intervals, {RESAMPLES:,} resamples of the test rows."

    def _comparison(self) -> Iterator[str]:
        before, verdict = self.outcome.champion_before, self.outcome.verdict
        if before is not None and before.evaluation is not None and verdict is not None:
            yield from comparison_lines(
                load_family(self.recipe.family),
                verdict,
                corpus=self.corpus,
                champion=before.evaluation,
                challenger=self.evaluation,
                version=before.version,
            )

    def _evidence(self) -> Iterator[str]:
        yield from evidence_lines(load_family(self.recipe.family).metric, self.evaluation, run_url=self.run_url)

    def _curve(self) -> Iterator[str]:
        facts = self.training.facts
        yield "## Training"
        yield ""
        yield (
            f"{facts['parameters']:,} parameters, {facts['steps']:,} steps in {facts['training_seconds']:,.0f} s, "
            f"best at step {facts['best_step']:,}."
        )
        yield ""
        history = list(read_jsonl(self.training.path / HISTORY_FILE))
        for name in ("training_loss", "validation_loss"):
            values = [float(point[name]) for point in history if name in point]
            if values:
                yield f"- {name}: `{sparkline(values)}` {values[0]:.3f} to {values[-1]:.3f}, lowest {min(values):.3f}"

    def _samples(self) -> Iterator[str]:
        found = read_json(self.training.path / PREDICTIONS_FILE)
        yield "## Samples from the test split"
        yield ""
        rows = list(zip(found["inputs"], found["answers"], found["expected"], strict=True))[:_SAMPLES]
        if any("\n" in str(answer) for _, answer, _ in rows):
            for text, answer, _ in rows[:2]:
                yield f"After {cell(text)!r}:"
                yield ""
                yield from (f"    {line}" for line in str(answer).splitlines())
                yield ""
        else:
            yield from table(["input", "model", "right answer"], [[text, plain(a), e] for text, a, e in rows])

    def _data(self) -> Iterator[str]:
        facts = self.corpus.facts
        yield "## Data"
        yield ""
        dropped = ", ".join(f"{name} {count:,}" for name, count in facts["dropped"].items() if count) or "none"
        yield f"{facts['source']}: {facts['read']:,} records read, {facts['kept']:,} kept. Dropped: {dropped}."
        yield ""
        splits = facts["splits"]
        yield from table(
            ["split", "rows", "groups", "bytes"],
            [[name, *(f"{splits[name][field]:,}" for field in ("rows", "groups", "bytes"))] for name in SPLITS],
        )

    def _stages(self) -> Iterator[str]:
        yield "## Stages"
        yield ""
        yield from table(["stage", "key"], [[stage.name, how(stage)] for stage in self.stages])

    def _links(self) -> Iterator[str]:
        version = self.outcome.version
        yield "## Where to look"
        yield ""
        if self.run_url:
            yield f"- [MLflow run {version.run_id}]({self.run_url}), with the curves"
        else:
            yield f"- MLflow run `{version.run_id}` at `{self.tracking_uri}` (`nightshift up` shows the pages)"
        if self.outcome.verdict is not None:
            yield f"- The comparison row by row: `{PAGE}` among the MLflow run's artifacts"
        if self.flow_run_url:
            yield f"- Prefect flow run: [{self.flow_run_url}]({self.flow_run_url})"
        yield f"- Model: {version_link(version.family, version.version)}, training key `{version.training_key}`"
        yield f"- Where it came from: `nightshift lineage {version.family} --version {version.version}`"


def _values(metrics: Mapping[str, float], names: Sequence[str], *, of: Stage | None = None) -> list[str]:
    """The figures by name; `of`: the evaluation that they come from, which has their intervals."""
    intervals = of.facts["intervals"] if of is not None else {}
    return [within(metrics[name], intervals.get(name)) if name in metrics else "" for name in names]
