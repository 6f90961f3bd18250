"""What is disturbed, one act at a time, without Prefect: stages, a training with its checkpoints, a registration."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.night import family_config
from benchmarks.chaos.registry import weights
from llm.baselines.base import baselines_stage
from llm.chain import corpus_of, evaluation_of, tokenizer_of, tokens_of
from llm.families import load_family
from llm.home import downloads_folder, stages_folder
from llm.recipe import Recipe
from llm.stages import Stage
from llm.training.stage import training_stage
from tasks.registering import register_training
from tasks.registry.runs import TrainingIdentity, TrainingRun, training_run
from tasks.registry.versions import champion, promote

FAMILY = "classification"


@dataclass(frozen=True)
class Data:
    """The stages that a training needs."""

    corpus: Stage
    tokenizer: Stage
    tokens: Stage
    baselines: Stage


def recipe(rows: Path, *, seed: int) -> Recipe:
    """The tiny classification; another seed is another training, and another challenger."""
    return family_config(FAMILY, rows, seed=seed).recipe


def stages(of: Recipe) -> Data:
    """From rows to token tables and baselines."""
    root = stages_folder()
    corpus = corpus_of(of, root=root, downloads=downloads_folder())
    tokenizer = tokenizer_of(of, corpus, None, root=root, downloads=downloads_folder())
    tokens = tokens_of(of, corpus, tokenizer, root=root)
    family = load_family(of.family)
    baselines = baselines_stage(corpus, tokens, baselines=family.baselines, family=family.name, root=root)
    return Data(corpus, tokenizer, tokens, baselines)


def train(of: Recipe, data: Data) -> Stage:
    """A training of its own, without a curve in MLflow."""
    return training_stage(
        of,
        corpus=data.corpus,
        tokens=data.tokens,
        tokenizer=data.tokenizer,
        root=stages_folder(),
        report=lambda _step, _values: None,
    )


def register(of: Recipe, data: Data, training: Stage) -> None:
    """Register the training and make it champion over whoever is; where it is champion, as in a night, only its run."""
    now = champion(of.family)
    evaluation = evaluation_of(of, training, data.corpus, root=stages_folder())
    with _run(of, training) as run:
        if now is not None and now.training_key == training.key:
            if run.unfinished:
                run.open()  # it is closed as it should have been
            return
        version = register_training(
            of,
            run,
            corpus=data.corpus,
            training=training,
            evaluation=evaluation,
            baselines=data.baselines.facts,
            root=stages_folder(),
        )
        promote(version, over=now, reasons=("chaos",), description=f"seed {of.training.seed}", who="chaos")
        run.note("promoted")


@contextlib.contextmanager
def _run(of: Recipe, training: Stage) -> Iterator[TrainingRun]:
    identity = TrainingIdentity(of.family, training.key, of.model_dump(mode="json"), datasets=(), tags={})
    with training_run(identity) as run:
        yield run


def settle_in(home: Path, *, served: int | None = None) -> None:
    """Let this process live in `home`; `served`: the port of an MLflow server in place of its database."""
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "NIGHTSHIFT_HOME": str(home),
        "TMPDIR": str(temporary),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{served}" if served else f"sqlite:///{home}/mlflow/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # One lost reply costs seconds otherwise; that a request is repeated is what counts.
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    }


def act(name: str, rows: Path) -> None:
    """Carry out an act on a home that holds what comes before it; the challenger's seed is 2."""
    of = recipe(rows, seed=2)
    data = stages(of)
    if name == "stages":
        return
    training = train(of, data)
    if name != "training":
        register(of, data, training)


def found(home: Path) -> str:
    """What an act is compared by: the SHA-256 of its training's weights, where it has one."""
    return str(sorted(weights(home / "stages").items()))
