"""Whether a night has anything to do: what it asks, and the version that was decided on just that before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

import llm
import tasks
from llm.corpora.base import short_hash
from llm.environment import code_of
from llm.files import canonical_json
from llm.model.pretrained import PretrainedEncoder
from llm.recipe import Recipe
from llm.stages import Stage
from tasks.gate import ChampionScore, GateConfig
from tasks.outcome import Outcome, nothing_new
from tasks.registry.answers import find_answer, remember_answer
from tasks.registry.versions import Version, champion
from tasks.retries import AFTER_SERVERS


@dataclass(frozen=True)
class Question:
    """What a night asks, as a hash; the version that answered it, if any, and the champion, both as the night began."""

    key: str
    answer: Version | None
    champion: Version | None


_asking_the_registry = partial(
    task,
    **AFTER_SERVERS,
    cache_policy=NO_CACHE,
    persist_result=False,
)


@_asking_the_registry(name="look for news")
def ask(recipe: Recipe, corpus: Stage, *, gate: GateConfig) -> Question:
    """Look whether the registry holds the decision on the same question, with the same champion."""
    key = question_key(recipe, corpus.key, gate=gate)
    now = champion(recipe.family)
    answer = find_answer(recipe.family, key, champion=now.version if now else None)
    if answer:
        get_run_logger().info("nothing new since version %d was %s", answer.version, answer.decision or "made champion")
    else:
        get_run_logger().info("the corpus, the options, the code or the champion is new")
    return Question(key=key, answer=answer, champion=now)


@_asking_the_registry(name="remember decision")
def remember(outcome: Outcome, question: Question) -> None:
    """Let the next night that asks the same find this one's answer."""
    remember_answer(outcome.version, question.key, champion=outcome.champion)


def question_key(recipe: Recipe, corpus: str, *, gate: GateConfig) -> str:
    """A hash of all that a decision rests on but the champion: the options, the corpus (its stage's key), the code.

    Options that leave the model alone count too. An answer that is not found costs little: stages are there to be used
    again. One that is found wrongly would keep a better model from its users.
    """
    pretrained = recipe.model.weights.content() if isinstance(recipe.model, PretrainedEncoder) else {}
    asked = {
        "recipe": recipe.model_dump(mode="json"),
        "gate": gate.model_dump(mode="json"),
        "corpus": corpus,
        # A folder or a branch of the hub may hold other weights tonight.
        "pretrained": pretrained,
        "code": code_key(),
    }
    return short_hash(canonical_json(asked))


@cache
def code_key() -> str:
    """A hash of the code that makes models and judges them; kept, since files may change while a night runs."""
    return code_of(*(Path(str(package.__file__)).parent for package in (llm, tasks)))


def answered(question: Question, corpus: Stage) -> Outcome | None:
    """The outcome of a night that asks what was answered before; None: there is something to do."""
    if question.answer is None:
        return None
    now = question.champion
    if now is None or question.answer.is_champion:
        return nothing_new(question.answer)
    # Its figures say nothing here if they are those of another test split.
    metrics = now.metrics if now.test_split == corpus.key else {}
    return nothing_new(question.answer, champion=ChampionScore(version=now.version, metrics=metrics))
