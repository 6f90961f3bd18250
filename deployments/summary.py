"""What a person reads at the end of a run and in `nightshift models`: figures by baselines, stages, real answers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployments.champions import Champion
from deployments.tables import one_line, printable, table
from llm.families import FAMILIES, load_family
from llm.families.base import Answer
from llm.home import stages_folder
from llm.model.folder import auto_class, read_options
from llm.tokens import rows_of
from tasks.outcome import NOTHING_NEW, title
from tasks.registry.connection import tracking_uri
from tasks.registry.versions import Version, list_champions

_SAMPLES = 4
_LONGEST = 100


@dataclass(frozen=True)
class Sample:
    """An input from the test split, what the champion answers, and the right answer (None: there are many)."""

    text: str
    answer: Answer
    expected: str | None


def samples_of(champion: Champion, summary: Mapping[str, Any]) -> list[Sample]:
    """Some of the test split's inputs, from all over it, answered by the champion as the registry holds it."""
    family = champion.predictor.family
    corpus = next(stage for stage in summary["stages"] if stage["name"] == "corpus")
    rows = rows_of(stages_folder() / "corpus" / corpus["key"], "test")
    # Neighbours come from one play or one component: a step spreads the choice over the split.
    chosen = rows[:: max(1, len(rows) // _SAMPLES)][:_SAMPLES]
    texts = [champion.predictor.shortened(text) for text in family.sample_inputs(chosen, len(chosen))]
    open_ended = family.target_field == family.input_field
    expected = [None if open_ended else row[family.target_field] for row in chosen]
    answers = champion.predictor.predict(texts)
    return [Sample(*sample) for sample in zip(texts, answers, expected, strict=True)]


def show_run(summary: Mapping[str, Any], samples: Sequence[Sample]) -> str:
    """One family's part of the closing report; `summary` is what the flow `retrain` returned."""
    head = title(summary["family"], version=summary["version"], decision=summary["decision"])
    lines = [head, "=" * len(head), *(f"- {reason}" for reason in summary["reasons"]), ""]
    if summary["decision"] != NOTHING_NEW:
        lines += [figures_table(summary), ""]
    lines.append(stages_table(summary["stages"]))
    if samples:
        lines += ["", *_sample_lines(samples)]
    return "\n".join(lines)


def figures_table(summary: Mapping[str, Any]) -> str:
    """The new version, the champion where that is another, and each baseline, on the same test split."""
    metric = load_family(summary["family"]).metric
    rows = {f"version {summary['version']}": summary["metrics"]}
    champion = summary["champion"]
    if champion is not None and champion["version"] != summary["version"]:
        rows[f"version {champion['version']} (champion)"] = champion["metrics"]
    rows |= {f"baseline {name}": values for name, values in summary["baselines"].items()}
    names = list(summary["metrics"])
    columns = [_figures([values.get(name) for values in rows.values()]) for name in names]
    head = [f"on the test split ({metric.name} decides)", *names]
    return table(head, list(zip(rows, *columns, strict=True)))


def stages_table(stages: Sequence[Mapping[str, Any]]) -> str:
    """Each stage with its key, and whether it was built, in how many seconds, or reused."""
    rows = [
        [stage["name"], "reused" if stage["reused"] else f"built in {stage['seconds']:.1f} s", stage["key"]]
        for stage in stages
    ]
    return table(["stage", "", "key"], rows)


def how_to_pull(pulled: Sequence[tuple[Champion, str]]) -> str:
    """Python to copy: pulls each champion (given with an example input), through MLflow and with no code of ours."""
    names = sorted({_auto_class(champion) for champion, _ in pulled} | {"AutoTokenizer"})
    lines = [
        "import mlflow",
        f"from transformers import {', '.join(names)}",
        "",
        f"mlflow.set_tracking_uri({tracking_uri()!r})  # or MLFLOW_TRACKING_URI",
    ]
    for champion, text in pulled:
        name = champion.version.family
        lines += [
            "",
            f'{name} = mlflow.pyfunc.load_model("models:/{name}@champion")',
            f"print({name}.predict([{text!r}]))",
            "# the same weights as an ordinary Hugging Face folder:",
            f'folder = mlflow.artifacts.download_artifacts("models:/{name}@champion/artifacts/model")',
            f"model = {_auto_class(champion)}.from_pretrained(folder)",
            "tokenizer = AutoTokenizer.from_pretrained(folder)",
        ]
    title = "How to pull them, from any Python that has mlflow, torch and transformers:"
    return f"{title}\n\n{textwrap.indent(chr(10).join(lines), '    ')}"


def champions_table() -> str:
    """Who is champion of each family, since when, and the deciding figure beside each baseline's."""
    champions = {version.family: version for version in list_champions() if version.family in FAMILIES}
    if not champions:
        return "There are no champions yet. Train some: nightshift run"
    rows = [_champion_row(name, champions.get(name)) for name in FAMILIES]
    return table(["family", "version", "since (UTC)", "on its test split", "MLflow run"], rows, indent="")


def answer_line(answer: Answer) -> str:
    """An answer as one prints it: a text as it is, a record's values with tabs between."""
    if isinstance(answer, str):
        return answer
    return "\t".join(_value(value) for value in answer.values())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return ", ".join(" ".join(_value(part) for part in pair) for pair in value)
    return str(value)


def _sample_lines(samples: Sequence[Sample]) -> Iterator[str]:
    if all(sample.expected is None for sample in samples):
        # Whatever follows an open-ended input is long: one shows more than four cut ones.
        first = samples[0]
        yield "  the champion continues:"
        yield ""
        yield textwrap.indent(printable(first.text).rstrip("\n"), "    | ")
        yield textwrap.indent(printable(answer_line(first.answer)).strip("\n"), "      ")
        return
    for sample in samples:
        yield f"  {one_line(sample.text, longest=_LONGEST)}"
        yield f"    champion  {one_line(answer_line(sample.answer), longest=_LONGEST)}"
        yield f"    right     {one_line(sample.expected or '', longest=_LONGEST)}"


def _champion_row(name: str, version: Version | None) -> list[str]:
    if version is None:
        return [name, "-", "-", "none yet", "-"]
    since = version.champion_since
    metric = load_family(name).metric.name
    own, *others = _figures([values.get(metric) for values in (version.metrics, *version.baselines.values())])
    beside = "".join(f", {baseline} {other}" for baseline, other in zip(version.baselines, others, strict=True))
    figure = f"{metric} {own}{beside}"
    return [name, str(version.version), f"{since:%Y-%m-%d %H:%M}" if since else "-", figure, version.run_id]


def _figures(values: Sequence[float | None]) -> list[str]:
    """Figures that are compared with each other, with as many digits each: two do for percentages, not for bits."""
    digits = 2 if any(abs(value) >= 10 for value in values if value is not None) else 4
    return ["-" if value is None else f"{value:.{digits}f}" for value in values]


def _auto_class(champion: Champion) -> str:
    return auto_class(read_options(champion.folder))
