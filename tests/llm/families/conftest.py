"""A small real corpus for each family, and what the pipeline makes of it with the smoke recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from llm.evaluate import evaluation_stage
from llm.families import FAMILIES, load_family
from llm.families.base import Family
from llm.ingest.corpus import corpus_stage
from llm.predictor import Predictor
from llm.recipe import Recipe
from llm.stages import Stage
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import tokenizer_stage
from llm.tokens import TokenTable, rows_of, tokens_stage
from llm.training.stage import MODEL_FOLDER, training_stage

_ROWS = 120
_WORDS = ["house", "river", "stone", "cloud", "bridge", "garden", "window", "morning"]


def _sentence(number: int) -> str:
    return " ".join(_WORDS[(number * step + step) % len(_WORDS)] for step in (1, 3, 5)) + f" {number}"


# What a row of each family's corpus looks like.
_MAKERS: dict[str, Callable[[int], dict[str, str]]] = {
    "generation": lambda n: {"text": "\n".join(_sentence(n + line) for line in range(12))},
    "translation": lambda n: {"source": _sentence(n), "target": _sentence(n).upper()},
    "classification": lambda n: (
        {"text": _sentence(n).upper(), "label": "loud"} if n % 2 else {"text": _sentence(n), "label": "quiet"}
    ),
}


@dataclass(frozen=True)
class Trained:
    """One family's way through the pipeline."""

    family: Family
    recipe: Recipe
    corpus: Stage
    tokenizer: Stage
    tokens: Stage
    training: Stage
    curve: list[tuple[int, dict[str, float]]]

    @property
    def folder(self) -> Path:
        return self.training.path / MODEL_FOLDER

    @property
    def predictor(self) -> Predictor:
        return Predictor.load(self.folder)

    @property
    def text_tokenizer(self) -> TextTokenizer:
        return TextTokenizer.load(self.tokenizer.path)

    def table(self, split: str) -> TokenTable:
        return TokenTable.load(self.tokens.path / f"{split}.safetensors")

    def rows(self, split: str) -> list[dict[str, str]]:
        return rows_of(self.corpus.path, split)


@pytest.fixture(scope="session", params=list(FAMILIES))
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    family = load_family(request.param)
    folder = tmp_path_factory.mktemp(family.name)
    data = folder / "rows.jsonl"
    rows = [_MAKERS[family.name](number) for number in range(_ROWS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    values = family.presets()["smoke"].model_dump(mode="json")
    values["corpus"] = {
        "source": "local_files",
        "format": "jsonl",
        "paths": [str(data)],
        "columns": {name: name for name in family.fields},
    }
    values["splits"] = {"validation": 0.2, "test": 0.2, "salt": "tests"}
    values["training"] |= {"threads": 1, "precision": "float32", "context": 32, "steps": 40, "validate_every": 20}
    recipe = Recipe.model_validate(values)
    root = folder / "stages"
    corpus = corpus_stage(
        recipe.corpus, recipe.cleaning, recipe.splits, fields=family.fields, root=root, downloads=folder
    )
    assert recipe.tokenizer is not None
    tokenizer = tokenizer_stage(
        corpus, recipe.tokenizer, fields=family.text_fields, template=family.template, root=root
    )
    tokens = tokens_stage(corpus, tokenizer, family=family, root=root)
    curve: list[tuple[int, dict[str, float]]] = []
    training = training_stage(
        recipe,
        corpus=corpus,
        tokens=tokens,
        tokenizer=tokenizer,
        root=root,
        report=lambda step, found: curve.append((step, dict(found))),
    )
    return Trained(family, recipe, corpus, tokenizer, tokens, training, curve)


@pytest.fixture(scope="session")
def evaluated(trained: Trained) -> Stage:
    """Its evaluation, made in a process of its own."""
    root = trained.corpus.path.parents[1]
    return evaluation_stage(trained.folder, trained.training.key, trained.corpus, threads=1, root=root)
