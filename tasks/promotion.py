"""Prefect tasks around the registry: register the challenger, judge it, promote or refuse it."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.evaluate import row_columns
from llm.families import load_family
from llm.files import read_json
from llm.home import stages_folder
from llm.recipe import Recipe
from llm.stages import Stage
from llm.statistics.verdict import decide as compare
from llm.tokens import rows_of
from llm.training.stage import PREDICTIONS_FILE
from tasks.comparison_page import PAGE, render_comparison
from tasks.figures import figures
from tasks.gate import ChampionScore, Decision, GateConfig, decide
from tasks.model_card import ModelCard
from tasks.provenance import this_flow_run
from tasks.registering import register_training
from tasks.registry.connection import registry_errors, tracking_uri
from tasks.registry.patience import patiently
from tasks.registry.runs import TrainingRun
from tasks.registry.versions import Version, leave, promote
from tasks.reload import check_reload
from tasks.retries import AFTER_KILL, AFTER_MLFLOW


@task(
    name="register challenger",
    **AFTER_MLFLOW,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def register_challenger(
    recipe: Recipe, training: Stage, evaluation: Stage, baselines: Stage, corpus: Stage, run: TrainingRun
) -> Version:
    """Log results, lineage and the model; register it as challenger. Twice is the same as once."""
    version = register_training(
        recipe,
        run,
        corpus=corpus,
        training=training,
        evaluation=evaluation,
        baselines=baselines.facts,
        root=stages_folder(),
    )
    get_run_logger().info("registered as %s version %d: %s", version.family, version.version, figures(version.metrics))
    return version


@task(
    name="judge challenger",
    **AFTER_KILL,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def judge(
    recipe: Recipe,
    gate: GateConfig,
    challenger: Version,
    *,
    corpus: Stage,
    training: Stage,
    evaluation: Stage,
    champion: Version | None,
    score: ChampionScore | None,
) -> Decision:
    """Reload the logged model in a fresh process, then compare it with the baselines, and row by row with the champion.

    `score` is the champion's on the test split of `corpus`.
    """
    predictions = read_json(training.path / PREDICTIONS_FILE)
    with registry_errors("loading the logged model"):
        reload = patiently(
            lambda: check_reload(
                challenger.uri,
                predictions,
                tracking_uri=tracking_uri(),
                threads=recipe.training.threads,
                tolerance=gate.repeat_tolerance,
            )
        )
    family = load_family(recipe.family)
    verdict = None
    if champion is not None and score is not None and score.evaluation is not None:
        verdict = compare(
            family.metric,
            row_columns(score.evaluation),
            row_columns(evaluation),
            slices=family.slices(rows_of(corpus.path, "test")),
            policy=gate.promotion,
            newer_data=champion.test_split != corpus.key,
        )
    decision = decide(
        metric=family.metric,
        challenger=challenger.metrics,
        baselines=challenger.baselines,
        must_beat=recipe.evaluation.must_beat,
        verdict=verdict,
        champion=champion.version if champion is not None else None,
        reload=reload,
    )
    for check in decision.checks:
        get_run_logger().info("%s %s", "passed:" if check.ok else "FAILED:", check.sentence)
    return decision


@task(name="write comparison", cache_policy=NO_CACHE, persist_result=False)
def write_comparison(
    recipe: Recipe,
    run: TrainingRun,
    decision: Decision,
    *,
    corpus: Stage,
    champion: ChampionScore | None,
    challenger: tuple[int, Stage],
) -> None:
    """Keep the comparison with the champion as figures and as a page in the MLflow run, where there was one.

    `challenger`: its version and its evaluation.
    """
    verdict = decision.verdict
    if verdict is None or champion is None or champion.evaluation is None:
        return
    html = render_comparison(
        load_family(recipe.family),
        decision,
        verdict,
        corpus=corpus,
        champion=(champion.version, champion.evaluation),
        challenger=challenger,
    )
    run.log_json("verdict.json", verdict.facts())
    run.log_page(PAGE, html)


@task(name="promote or refuse", cache_policy=NO_CACHE, persist_result=False)
def settle(
    challenger: Version,
    champion: ChampionScore | None,
    decision: Decision,
    run: TrainingRun,
    *,
    over: Version | None,
    card: ModelCard,
    level: float,
) -> Version:
    """Move the alias `champion` from `over`, or leave it and write down why, on the version's card too.

    `champion` is the score of `over` on the challenger's test split; `level` is what the p-value was held against.
    """
    story = "\n".join([f"{decision.outcome}:", *(f"- {reason}" for reason in decision.reasons)])
    description = card.markdown(
        family=challenger.family,
        version=challenger.version,
        decision=decision.outcome,
        reasons=decision.reasons,
        champion=champion,
    )
    if decision.promote:
        version = promote(
            challenger,
            over=over,
            reasons=decision.reasons,
            description=description,
            p_value=decision.verdict.overall.p_better if decision.verdict else None,
            level=level if decision.verdict else None,
            who=this_flow_run(),
        )
    else:
        version = leave(challenger, decision=decision.outcome, reasons=decision.reasons, description=description)
    run.note(f"{challenger.family} version {challenger.version}, {story}")
    get_run_logger().info("%s version %d %s", version.family, version.version, decision.outcome)
    return version
