"""A real MLflow on SQLite for each test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.baselines.base import baselines_stage
from llm.evaluate import evaluation_stage
from llm.families import load_family
from llm.stages import open_stage
from llm.training.stage import MODEL_FOLDER
from tasks.model_card import ModelCard
from tasks.registry.logged_model import ModelToLog
from tasks.registry.runs import DatasetRecord, TrainingIdentity


@pytest.fixture
def home(nightshift_home: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nightshift's home with an empty registry in it."""
    folder = nightshift_home
    database = folder / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True)
    shutil.copy(migrated_database, database)
    # Set and not deleted: MLflow writes this variable itself, and what it wrote must end with the test.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    return folder


@pytest.fixture
def identity() -> Callable[[str], TrainingIdentity]:
    """The identity of a training of `translation`, by its key."""

    def make(key: str) -> TrainingIdentity:
        return TrainingIdentity(
            family="translation",
            training_key=key,
            params={"training": {"steps": 100}, "corpus": {"source": "toy"}},
            datasets=(DatasetRecord(name="toy/train", digest="c0ffee", source="{}", context="train"),),
            tags={"nightshift.flow_run_id": f"flow-of-{key}"},
        )

    return make


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], ModelToLog]:
    """A model folder that is complete for the registry, though nothing can be predicted with it."""

    def make(key: str) -> ModelToLog:
        folder = tmp_path / key / "model"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"key": key}))
        (folder / "model.safetensors").write_bytes(key.encode())
        return ModelToLog(
            folder=folder,
            family="translation",
            training_key=key,
            inputs=["one", "two"],
            answers=["eins", "zwei"],
            params={"num_beams": 4, "temperature": 0.0, "max_new_tokens": 128},
        )

    return make


@pytest.fixture(scope="session")
def card(toy_recipe, toy_training) -> ModelCard:
    """The card of the toy classification, evaluated once a session."""
    root = toy_training.path.parents[1]
    corpus, tokens = (
        open_stage(next(path for path in (root / name).iterdir() if path.name.isalnum()))
        for name in ("corpus", "tokens")
    )
    family = load_family(toy_recipe.family)
    evaluation = evaluation_stage(toy_training.path / MODEL_FOLDER, toy_training.key, corpus, threads=1, root=root)
    baselines = baselines_stage(corpus, tokens, baselines=family.baselines, family=family.name, root=root)
    return ModelCard(toy_recipe, corpus=corpus, training=toy_training, evaluation=evaluation, baselines=baselines)
