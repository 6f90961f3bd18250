"""What it costs a training to be watched: MLflow's curves and Prefect's progress, beside the same training alone.

Two kinds of runs of one training take turns: `alone` reports to nobody; `watched` is what the flow does (system
metrics, a metric buffer to an MLflow on SQLite, live progress to a Prefect server, which runs on the same cores).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from llm.chain import corpus_of, tokenizer_of, tokens_of
from llm.recipe import Recipe
from llm.stages import Stage
from llm.training.stage import training_stage


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", default="generation")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["NIGHTSHIFT_HOME"] = folder
        stack.enter_context(_prefect())
        print(json.dumps(_race(options, Path(folder))))


@contextmanager
def _prefect() -> Iterator[None]:
    from deployments import environment
    from deployments.servers import embedded_prefect

    environment.prepare(find_servers=False)
    with embedded_prefect() as wait:
        wait()
        yield


def _race(options: argparse.Namespace, root: Path) -> dict[str, Any]:
    from llm.families import load_family

    preset = load_family(options.family).presets()["quick"]
    recipe = preset.vary(training={"steps": options.steps, "warmup": 10, "validate_every": max(1, options.steps // 3)})
    corpus = corpus_of(recipe, root=root, downloads=root)
    tokenizer = tokenizer_of(recipe, corpus, None, root=root, downloads=root)
    chain = {"corpus": corpus, "tokenizer": tokenizer, "tokens": tokens_of(recipe, corpus, tokenizer, root=root)}
    seconds: dict[str, list[float]] = {"alone": [], "watched": []}
    for round_ in range(options.rounds):
        for name, run in (("alone", _alone), ("watched", _watched)):
            # Another seed is another training: nothing is reused.
            varied = recipe.vary(training={"seed": 1 + round_})
            seconds[name].append(run(varied, chain, root / f"{name}-{round_}"))
    median = {name: statistics.median(found) for name, found in seconds.items()}
    ratios = [watched / alone for alone, watched in zip(seconds["alone"], seconds["watched"], strict=True)]
    rounded = {name: [round(one, 2) for one in found] for name, found in seconds.items()}
    facts = {"family": options.family, "steps": options.steps, "seconds": rounded, "median": median}
    return facts | {"watched_to_alone": round(statistics.median(ratios), 4), "load": os.getloadavg()[0]}


def _alone(recipe: Recipe, chain: Mapping[str, Stage], root: Path) -> float:
    started = time.monotonic()
    training_stage(recipe, **chain, root=root, report=lambda _step, _values: None)
    return time.monotonic() - started


def _watched(recipe: Recipe, chain: Mapping[str, Stage], root: Path) -> float:
    from prefect import flow

    from tasks.registry.runs import TrainingIdentity, training_run
    from tasks.train import watched

    @flow(name="watched", persist_result=False)
    def train() -> float:
        identity = TrainingIdentity(recipe.family, root.name, {}, datasets=(), tags={})
        with training_run(identity) as run:
            run.open()
            started = time.monotonic()
            with watched(recipe, run) as report:
                training_stage(recipe, **chain, root=root, report=report)
            return time.monotonic() - started

    return train()


if __name__ == "__main__":
    main()
