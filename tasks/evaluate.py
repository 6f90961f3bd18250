"""Prefect tasks that measure on the test split: baselines, the trained model, the champion."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.baselines.base import baselines_stage
from llm.chain import evaluation_of
from llm.evaluate import evaluation_stage
from llm.families import load_family
from llm.home import stages_folder
from llm.recipe import Recipe
from llm.stages import Stage
from tasks.figures import figures
from tasks.gate import ChampionScore
from tasks.registry.folders import champion_folder
from tasks.registry.versions import Version
from tasks.retries import AFTER_KILL
from tasks.stages import log_stage


@task(name="score baselines", cache_policy=NO_CACHE, persist_result=False)
def score_baselines(recipe: Recipe, corpus: Stage, tokens: Stage) -> Stage:
    """Score what the model has to beat."""
    family = load_family(recipe.family)
    stage = baselines_stage(corpus, tokens, baselines=family.baselines, family=family.name, root=stages_folder())
    log_stage(stage, "; ".join(f"{name}: {figures(metrics)}" for name, metrics in stage.facts.items()))
    return stage


@task(
    name="evaluate model",
    **AFTER_KILL,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def evaluate(recipe: Recipe, training: Stage, corpus: Stage) -> Stage:
    """Score the trained model in a process of its own."""
    stage = evaluation_of(recipe, training, corpus, root=stages_folder())
    log_stage(stage, figures(stage.facts["metrics"]))
    return stage


@task(
    name="score champion",
    **AFTER_KILL,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def score_champion(recipe: Recipe, champion: Version, corpus: Stage) -> ChampionScore:
    """Score the champion, as the registry holds it, on this run's test split."""
    stage = evaluation_stage(
        champion_folder(champion), champion.training_key, corpus, threads=recipe.training.threads, root=stages_folder()
    )
    log_stage(stage, f"champion version {champion.version}: {figures(stage.facts['metrics'])}")
    if champion.test_split != corpus.key:
        get_run_logger().info("the champion was registered with another test split, %s", champion.test_split)
    return ChampionScore(version=champion.version, metrics=stage.facts["metrics"], evaluation=stage)
