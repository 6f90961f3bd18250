"""Prefect tasks that make training data: corpus, tokenizer, token tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.chain import corpus_of, tokenizer_of, tokens_of
from llm.files import write_atomically
from llm.home import downloads_folder, reports_folder, stages_folder
from llm.ingest.report import is_page_of
from llm.ingest.shards import QUARANTINE
from llm.recipe import Recipe
from llm.splits import SPLITS
from llm.stages import Stage
from llm.training.start import Start
from tasks.corpus_story import corpus_page, corpus_summary
from tasks.retries import AFTER_DOWNLOAD
from tasks.stages import log_stage


@task(
    name="ingest corpus",
    **AFTER_DOWNLOAD,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ingest(recipe: Recipe) -> Stage:
    """Read, clean and split the corpus."""
    stage = corpus_of(recipe, root=stages_folder(), downloads=downloads_folder())
    facts = stage.facts
    rows = ", ".join(f"{split} {facts['splits'][split]['rows']:,}" for split in SPLITS)
    log_stage(stage, f"{facts['read']:,} records of {facts['source']} read, {facts['kept']:,} kept: {rows}")
    if stage.reused:
        get_run_logger().info("the corpus is that of %s", stage.manifest["finished"])
    if facts["bad"]:
        get_run_logger().warning("%d records are bad: see %s", facts["bad"], stage.path / QUARANTINE)
    _publish(stage, recipe.family)
    return stage


def _publish(stage: Stage, family: str) -> None:
    """The page of the corpus in a file of its own, and what it says in short as an artifact of the flow run."""
    path = reports_folder() / f"corpus-{family}.html"
    if not is_page_of(path, stage):
        page = corpus_page(stage)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda temporary: _write(temporary, page))
    create_markdown_artifact(corpus_summary(stage, path), key=f"corpus-{family}", description=f"corpus {stage.key}")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@task(
    name="train tokenizer",
    **AFTER_DOWNLOAD,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def train_tokenizer(recipe: Recipe, corpus: Stage, start: Start | None) -> Stage:
    """Train the tokenizer on the train split, or take the one that a pretrained model or the champion brings."""
    stage = tokenizer_of(recipe, corpus, start, root=stages_folder(), downloads=downloads_folder())
    log_stage(stage, _told(stage.facts))
    return stage


def _told(facts: Mapping[str, Any]) -> str:
    entries = f"{facts['vocabulary']:,} entries"
    if "layers" in facts:
        return f"{facts['layers']} layers of {facts['width']}, {entries}"
    if "bytes_per_token" not in facts:
        return f"{entries}, kept from the champion"
    return f"{entries}, {facts['bytes_per_token']} bytes a token"


@task(name="tokenize", cache_policy=NO_CACHE, persist_result=False)
def tokenize(recipe: Recipe, corpus: Stage, tokenizer: Stage) -> Stage:
    """Turn every split's rows into tokens."""
    stage = tokens_of(recipe, corpus, tokenizer, root=stages_folder())
    sizes = stage.facts["splits"]
    log_stage(stage, ", ".join(f"{split} {sum(sizes[split]['tokens'].values()):,} tokens" for split in SPLITS))
    return stage
