"""The flow that retrains one family: from a corpus to a judged challenger, and a champion if it is good enough."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.states import Completed
from pydantic import AwareDatetime, Field

from flows.configuration import RetrainConfig
from flows.hooks import close_mlflow_runs
from flows.time_budget import limited, require_to_come
from llm.stages import Stage
from tasks.data import ingest, tokenize, train_tokenizer
from tasks.evaluate import evaluate, score_baselines, score_champion
from tasks.model_card import ModelCard
from tasks.news import Question, answered, ask, remember
from tasks.outcome import Outcome, nothing_new
from tasks.own_data import require_own_data
from tasks.promotion import judge, register_challenger, settle, write_comparison
from tasks.provenance import flow_run_url, training_identity
from tasks.quiet_story import QuietStory
from tasks.registry.connection import tracking_uri
from tasks.registry.patience import patience
from tasks.registry.runs import TrainingRun, training_run
from tasks.registry.versions import champion
from tasks.report import write_report
from tasks.story import Story
from tasks.train import find_start, train

# As additions to the schema: of the fields themselves Prefect keeps neither a title nor a description.
_UNTIL = {
    "title": "Until",
    "description": "date and time, with its zone, at which the training has to be over: it cools down towards it, and "
    "what it learned is judged; none: it takes what it takes",
}


@flow(
    name="retrain",
    flow_run_name="retrain {config.family}",
    on_crashed=[close_mlflow_runs],
    on_cancellation=[close_mlflow_runs],
    # When the reply to the last state is lost, Prefect asks again and gets that state back without what it held.
    persist_result=True,
    result_serializer="json",
)
def retrain(
    config: RetrainConfig, until: Annotated[AwareDatetime | None, Field(json_schema_extra=_UNTIL)] = None
) -> State[dict[str, Any]]:
    """Retrain one family and decide, unless there is nothing new; returns the story's summary.

    A training that is not over by `until` cools down towards it and ends then; what it learned is judged as ever.
    Raises ConfigError when `until` was over already when the run first started.

    Raises GateError where the champion was trained on its users' data and this would not be: see `require_own_data`.

    It is returned as a state, whose message is the decision: Prefect gives the caller what the state holds.
    """
    if until is not None:
        require_to_come(until)
        config = limited(config)
    with patience(config.registry.patience), TagsContext(current_tags=set()):
        # A tag costs a task two requests: before and after it, Prefect asks whether there is a limit for that tag.
        recipe = config.recipe
        if not config.gate.replace_own_data:
            require_own_data(recipe)
        corpus = ingest(recipe)
        question = ask(recipe, corpus, gate=config.gate)
        outcome = answered(question, corpus) if config.when_nothing_new == "end" else None
        story: Story | QuietStory
        if outcome is not None:
            story = QuietStory(corpus=corpus, outcome=outcome, flow_run_url=flow_run_url())
        else:
            story = train_and_decide(config, corpus, question, until=until)
        write_report(story)
    return Completed(message=story.outcome.told, data=story.summary())


def train_and_decide(
    config: RetrainConfig, corpus: Stage, question: Question, *, until: datetime | None = None
) -> Story:
    """From a corpus to a decision. Stages whose inputs did not change are reused."""
    recipe = config.recipe
    start = find_start(recipe, corpus)
    tokenizer = train_tokenizer(recipe, corpus, start)
    tokens = tokenize(recipe, corpus, tokenizer)
    baselines = score_baselines(recipe, corpus, tokens)
    identity = training_identity(recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, start=start)
    with training_run(identity) as run:
        training = train(recipe, corpus, tokens, tokenizer, start, run, until)
        evaluation = evaluate(recipe, training, corpus)
        outcome = contest(config, run, corpus=corpus, training=training, evaluation=evaluation, baselines=baselines)
    remember(outcome, question)
    return Story(
        recipe=recipe,
        corpus=corpus,
        tokenizer=tokenizer,
        tokens=tokens,
        baselines=baselines,
        training=training,
        evaluation=evaluation,
        outcome=outcome,
        tracking_uri=tracking_uri(),
        run_url=run.url,
        flow_run_url=flow_run_url(),
    )


def contest(
    config: RetrainConfig,
    run: TrainingRun,
    *,
    corpus: Stage,
    training: Stage,
    evaluation: Stage,
    baselines: Stage,
) -> Outcome:
    """The challenger against the champion; nothing to decide when it is the champion already."""
    recipe = config.recipe
    rival = champion(recipe.family)
    if rival is not None and rival.training_key == training.key:
        if run.unfinished:
            run.open()  # it is closed as it should have been
        return nothing_new(rival)
    challenger = register_challenger(recipe, training, evaluation, baselines, corpus, run)
    score = score_champion(recipe, rival, corpus) if rival is not None else None
    decision = judge(
        recipe,
        config.gate,
        challenger,
        corpus=corpus,
        training=training,
        evaluation=evaluation,
        champion=rival,
        score=score,
    )
    card = ModelCard(recipe, corpus=corpus, training=training, evaluation=evaluation, baselines=baselines)
    version = settle(challenger, score, decision, run, over=rival, card=card, level=config.gate.promotion.level)
    write_comparison(recipe, run, decision, corpus=corpus, champion=score, challenger=(challenger.version, evaluation))
    return Outcome(
        version=version,
        decision=version.decision,
        reasons=decision.reasons,
        champion_before=score,
        verdict=decision.verdict,
    )
