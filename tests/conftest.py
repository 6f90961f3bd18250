"""What all tests share: a Nightshift home of their own, and a toy classification learnt in seconds, no download."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before torch is imported: two workers with two threads each ruin each other on two cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"

import torch

from llm.chain import corpus_of, tokenizer_of, tokens_of
from llm.families import load_family
from llm.model.folder import save_model
from llm.predictor import Predictor
from llm.recipe import Recipe
from llm.serving.limits import ServerLimits
from llm.serving.server import make_server, open_port
from llm.stages import Stage
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer
from llm.training.stage import training_stage

# Variables that would carry a test out of its own folder, to servers or stores of the developer.
_OUTSIDE = ("MLFLOW_TRACKING_URI", "NIGHTSHIFT_ARTIFACTS", "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE")
_WORDS = {"fruit": ("apple", "pear", "plum", "grape"), "tool": ("saw", "hammer", "drill", "wrench")}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first: at the end, small tests keep both workers busy."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
    corpus = corpus_of(toy_recipe, root=root, downloads=root)
    tokenizer = tokenizer_of(toy_recipe, corpus, None, root=root, downloads=root)
    tokens = tokens_of(toy_recipe, corpus, tokenizer, root=root)
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


@pytest.fixture(scope="session")
def model_folder(toy_training: Stage, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model folder of each family by name: the toy classification; writers of text have random weights."""

    def make(name: str) -> Path:
        family = load_family(name)
        if "max_new_tokens" not in family.params.model_fields:
            return toy_training.path / "model"
        recipe = family.presets()["smoke"]
        words = [" ".join(_WORDS["fruit"]), " ".join(_WORDS["tool"])]
        tokenizer = TextTokenizer(train_tokenizer(words, TokenizerConfig(vocabulary=280), template=family.template))
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = family.build_model(recipe, None, tokenizer)
        folder = tmp_path_factory.mktemp(name) / "model"
        facts = {"family": name, "recipe": recipe.model_dump(mode="json"), "params": family.params().model_dump()}
        save_model(folder, model.eval(), description=facts, generation=None)
        tokenizer.save(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[..., int]]:
    """Starts our server of a predictor on loopback, in a thread, until the end of the session; gives its port."""
    running = []

    def start(predictor: Predictor, **limits: float) -> int:
        listening = open_port(0)
        server = make_server(predictor, name="toy version 1", limits=ServerLimits(**limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        port: int = listening.getsockname()[1]
        return port

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()
