"""A model's card: what it is, what it learned from, how good it is and where it is weak, for whoever finds it.

Plain Markdown, short enough for the description of a registered version. Names and texts that users gave are escaped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llm.evaluate import evidence_of
from llm.families import load_family
from llm.files import read_json
from llm.model.folder import auto_class, read_options
from llm.predictor import pick_device
from llm.recipe import Recipe
from llm.splits import SPLITS
from llm.stages import Stage
from llm.statistics.intervals import RESAMPLES
from llm.tokenizer import TOKENIZER_CONFIG_FILE
from llm.training.stage import MODEL_FOLDER
from tasks.evidence_story import slice_figure
from tasks.figures import within
from tasks.gate import ChampionScore
from tasks.markdown import escaped

LONGEST = 4500  # characters; MLflow takes 5,000
# An assumption, since only a machine's administrator may read its processor's counters: a server of 64 to 128 threads
# draws some 300 to 600 W at full load.
WATTS_A_THREAD = 5.0
_SLICES, _LANGUAGES, _BULLETS = 3, 6, 6  # how many are named
# How long a single text in the card may be; the first that makes the card short enough.
_LENGTHS = (300, 160, 80, 40, 20)


@dataclass(frozen=True)
class ModelCard:
    """Everything that a card is made of but the decision; `recipe` is that of `training`."""

    recipe: Recipe
    corpus: Stage
    training: Stage
    evaluation: Stage
    baselines: Stage

    def markdown(
        self, *, family: str, version: int, decision: str, reasons: Sequence[str], champion: ChampionScore | None
    ) -> str:
        """The card of a registered version, of at most LONGEST characters; `champion`: what it was compared with."""
        for longest in _LENGTHS:
            sections = [
                [f"# {family}, version {version}: {decision}", "", *_bullets(reasons, longest=longest)],
                ["## What it is", "", *self._model(longest)],
                ["## Data", "", *self._data(longest)],
                ["## On the test split", "", *self._figures(champion)],
                ["## Where it is weak", "", *self._weaknesses(longest)],
                ["## What it cost", "", *self._cost()],
                ["## How to load it", "", *self._loading(family, version)],
            ]
            text = "\n\n".join("\n".join(lines) for lines in sections) + "\n"
            if len(text) <= LONGEST:
                break
        return text[:LONGEST]

    def _model(self, longest: int) -> Iterator[str]:
        folder = self.training.path / MODEL_FOLDER
        options = read_options(folder)
        kind = type(load_family(self.recipe.family))
        # The first line of the family's file says what such a model does.
        yield (sys.modules[kind.__module__].__doc__ or "").splitlines()[0]
        yield ""
        takes = read_json(folder / TOKENIZER_CONFIG_FILE)["model_max_length"]
        yield (
            f"- {options['architectures'][0]} ({self.recipe.model.assembly}), "
            f"{self.training.facts['parameters']:,} parameters, a vocabulary of {options['vocab_size']:,} tokens"
        )
        context = self.recipe.training.context
        rest = f"; trained on at most {context:,} at once, so more is untried" if context < takes else ""
        yield f"- longest input: {takes:,} tokens{rest}"
        labels = options.get("id2label", {}).values()
        if labels:
            yield f"- {len(labels)} labels: {escaped(', '.join(labels), longest=longest)}"

    def _data(self, longest: int) -> Iterator[str]:
        facts = self.corpus.facts
        terms = escaped(facts["origin"].get("terms", "not stated"), longest=longest)
        origin = {name: value for name, value in facts["origin"].items() if name not in ("terms", "sha256")}
        told = ", ".join(f"{name} {_plain(value)}" for name, value in origin.items())
        yield f"- source: {escaped(facts['source'])}, {escaped(told, longest=longest)}; terms: {terms}"
        rows = {split: facts["splits"][split]["rows"] for split in SPLITS}
        yield f"- rows: {', '.join(f'{split} {count:,}' for split, count in rows.items())}"
        yield f"- {_lengths(facts['splits']['train']['lengths'])}"
        for field, counts in facts["languages"]["fields"].items():
            if counts:
                yield f"- languages of {escaped(field)}, as a detector guesses them: {escaped(_shares(counts))}"
        yield f"- corpus `{self.corpus.key}`, training `{self.training.key}`"

    def _figures(self, champion: ChampionScore | None) -> Iterator[str]:
        metrics: Mapping[str, float] = self.evaluation.facts["metrics"]
        others = dict(self.baselines.facts)
        if champion is not None:
            others[f"champion, version {champion.version}"] = champion.metrics
        yield f"| | this model | {' | '.join(escaped(name) for name in others)} |"
        yield f"|{' --- |' * (2 + len(others))}"
        for name, value in metrics.items():
            beside = [f"{figures[name]:.4g}" if name in figures else "" for figures in others.values()]
            cells = [name, within(value, self.evaluation.facts["intervals"].get(name)), *beside]
            yield f"| {' | '.join(cells)} |"
        metric = load_family(self.recipe.family).metric
        wanted = "higher" if metric.higher_is_better else "lower"
        yield ""
        yield (
            f"{metric.name} decides, {wanted} is better. In brackets 95 % bootstrap intervals, {RESAMPLES:,} resamples "
            f"of {self.corpus.facts['splits']['test']['rows']:,} test rows."
        )

    def _weaknesses(self, longest: int) -> Iterator[str]:
        found = evidence_of(self.evaluation)
        metric = load_family(self.recipe.family).metric
        for one in found["slices"][:_SLICES]:
            name = escaped(one["name"], longest=longest)
            yield f"- {metric.name} {slice_figure(one)} in the slice {name} ({one['rows']:,} rows)"
        yield from _bullets(found["weaknesses"], longest=longest)
        if not found["slices"] and not found["weaknesses"]:
            yield "Too few test rows to say."

    def _cost(self) -> Iterator[str]:
        seconds, threads = self.training.facts["training_seconds"], self.recipe.training.threads
        yield f"{seconds:,.0f} s of training, {self.training.facts['steps']:,} steps."
        if pick_device(self.recipe.training.device).type == "cpu":
            hours = seconds * threads / 3600
            yield (
                f"At most {hours:.3g} CPU hours (threads: {threads}), and about {hours * WATTS_A_THREAD:.3g} Wh if a "
                f"busy thread draws {WATTS_A_THREAD:.0f} W (assumed, not measured)."
            )

    def _loading(self, family: str, version: int) -> Iterator[str]:
        auto = auto_class(read_options(self.training.path / MODEL_FOLDER))
        yield "```python"
        yield f'model = mlflow.pyfunc.load_model("models:/{family}/{version}")  # model.predict(["a text"])'
        yield f'folder = mlflow.artifacts.download_artifacts("models:/{family}/{version}/artifacts/model")'
        yield f"model = transformers.{auto}.from_pretrained(folder)"
        yield "```"
        yield f"`nightshift pull {family} FOLDER --version {version}`"


def _bullets(told: Sequence[str], *, longest: int) -> Iterator[str]:
    yield from (f"- {escaped(one, longest=longest)}" for one in told[:_BULLETS])
    if len(told) > _BULLETS:
        yield f"- and {len(told) - _BULLETS} more"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lengths(counts: Sequence[int]) -> str:
    """Of training rows by the power of two of their bytes."""
    total, seen, power = sum(counts), 0, 0
    for power, count in enumerate(counts):  # noqa: B007 (where it ends is what is asked)
        seen += count
        if seen >= 0.99 * total:
            break
    return f"99 % of the training rows have less than {2 << power:,} bytes"


def _shares(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    ordered = sorted(counts.items(), key=lambda one: -one[1])
    told = [f"{language} {100 * count / total:.1f} %" for language, count in ordered[:_LANGUAGES]]
    return ", ".join([*told, f"{len(ordered) - _LANGUAGES} others"] if len(ordered) > _LANGUAGES else told)
