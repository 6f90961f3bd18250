"""The Prefect tasks that train: what to start from, and the training with its curve in MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from llm.home import stages_folder
from llm.recipe import Recipe
from llm.stages import Stage
from llm.training.budget import BUDGET_USED, SECONDS_LEFT
from llm.training.stage import training_spec, training_stage
from llm.training.start import Start, choose_start
from llm.training.trainer import Report
from tasks.cancellation import cancellable
from tasks.corpus_story import corpus_page
from tasks.live_progress import LiveProgress, ProgressArtifact
from tasks.registry.folders import champion_folder
from tasks.registry.runs import TrainingRun
from tasks.registry.versions import champion
from tasks.stages import is_built, log_stage
from tasks.system_metrics import system_metrics


@task(name="choose start", cache_policy=NO_CACHE, persist_result=False)
def find_start(recipe: Recipe, corpus: Stage) -> Start | None:
    """The weights to go on from, where the recipe asks for the champion's and they fit."""
    if recipe.start == "fresh":
        return None
    rival = champion(recipe.family)
    folder = champion_folder(rival) if rival is not None else None
    return choose_start(recipe, corpus, folder)


@task(name="train model", cache_policy=NO_CACHE, persist_result=False)
def train(
    recipe: Recipe,
    corpus: Stage,
    tokens: Stage,
    tokenizer: Stage,
    start: Start | None,
    run: TrainingRun,
    until: datetime | None = None,
) -> Stage:
    """Train, continue an interrupted training, or take the finished one; no retries: a checkpoint is the retry."""
    if not is_built(training_spec(recipe, tokens=tokens, tokenizer=tokenizer, start=start)):
        run.open()
        run.log_page("corpus.html", corpus_page(corpus))
    with watched(recipe, run) as report:
        stage = training_stage(
            recipe,
            corpus=corpus,
            tokens=tokens,
            tokenizer=tokenizer,
            start=start,
            until=until,
            root=stages_folder(),
            report=report,
        )
    facts = stage.facts
    log_stage(
        stage,
        f"{facts['parameters']:,} parameters, {facts['steps']:,} steps, "
        f"validation loss {facts['validation_loss']:.4f} at step {facts['best_step']:,}{_ended(recipe, facts)}",
    )
    return stage


@contextmanager
def watched(recipe: Recipe, run: TrainingRun) -> Iterator[Report]:
    """What a training reports to: curves and system metrics in MLflow, live progress on the flow run's page.

    Inside, a cancellation from that page is known as one.
    """
    live = LiveProgress(recipe.training, ProgressArtifact(f"progress-{recipe.family}"))
    with run.metrics() as metrics, live, cancellable():

        def report(step: int, values: Mapping[str, float]) -> None:
            points = {name: value for name, value in values.items() if name not in (BUDGET_USED, SECONDS_LEFT)}
            metrics.report(step, {**points, **system_metrics()})
            live.report(step, values)

        yield report


def _ended(recipe: Recipe, facts: Mapping[str, Any]) -> str:
    return f"; the clock ended it before step {recipe.training.steps:,}" if facts.get("clocked") else ""
