"""What all tests share: a Nightshift home of their own, and a toy classification learnt in seconds, no download."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

# Before torch is imported: two workers with two threads each ruin each other on two cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

from llm.families import load_family
from llm.ingest.corpus import corpus_stage
from llm.recipe import Recipe
from llm.stages import Stage
from llm.tokenizer_training import tokenizer_stage
from llm.tokens import tokens_stage
from llm.training.stage import training_stage

# Variables that would carry a test out of its own folder, to servers or stores of the developer.
_OUTSIDE = ("MLFLOW_TRACKING_URI", "NIGHTSHIFT_ARTIFACTS", "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
_WORDS = {"fruit": ("apple", "pear", "plum", "grape"), "tool": ("saw", "hammer", "drill", "wrench")}


@pytest.fixture(autouse=True)
def nightshift_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for every test; nothing of the developer's own is read or written."""
    for name in _OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "nightshift-home"
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def toy_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JSON-lines file of 400 short texts about fruit or about tools."""
    draw = random.Random(1)
    path = tmp_path_factory.mktemp("toy") / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(400):
            label = draw.choice(sorted(_WORDS))
            text = " ".join(draw.choices(_WORDS[label], k=4)) + f" {number}"
            file.write(json.dumps({"text": text, "label": label}) + "\n")
    return path


@pytest.fixture(scope="session")
def toy_recipe(toy_rows: Path) -> Recipe:
    """A classification over `toy_rows`: 40 steps of a model of width 16."""
    return Recipe.model_validate(
        {
            "family": "classification",
            "corpus": {
                "source": "local_files",
                "format": "jsonl",
                "paths": [str(toy_rows)],
                "columns": {"text": "text", "label": "label"},
            },
            "splits": {"validation": 0.2, "test": 0.2},
            "tokenizer": {"vocabulary": 300},
            "model": {
                "assembly": "encoder",
                "width": 16,
                "heads": 2,
                "feed_forward": 32,
                "max_positions": 64,
                "layers": 1,
            },
            "training": {
                "steps": 40,
                "batch_tokens": 512,
                "context": 64,
                "learning_rate": 0.01,
                "warmup": 4,
                "validate_every": 20,
                "threads": 1,
                "device": "cpu",
            },
        }
    )


@pytest.fixture(scope="session")
def toy_training(toy_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The training stage of the toy classification, learnt once a session."""
    root = tmp_path_factory.mktemp("stages")
    family = load_family(toy_recipe.family)
    corpus = corpus_stage(
        toy_recipe.corpus, toy_recipe.cleaning, toy_recipe.splits, fields=family.fields, root=root, downloads=root
    )
    tokenizer = tokenizer_stage(
        corpus, toy_recipe.tokenizer, fields=family.text_fields, template=family.template, root=root
    )
    tokens = tokens_stage(corpus, tokenizer, family=family, root=root)
    return training_stage(
        toy_recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=root, report=lambda step, values: None
    )


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty registry's database: migrating takes seconds, copying nothing."""
    from tasks.registry.connection import client

    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client()
    return folder / "mlflow" / "mlflow.db"
