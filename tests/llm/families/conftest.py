"""A small real corpus for each family, and what the pipeline makes of it with the smoke recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from smoke_models import smoke_recipe

from llm.chain import corpus_of, tokenizer_of, tokens_of
from llm.evaluate import evaluation_stage
from llm.families import FAMILIES, load_family
from llm.families.base import Family
from llm.predictor import Predictor
from llm.recipe import Recipe
from llm.stages import Stage
from llm.tokenizer import TextTokenizer
from llm.tokens import TokenTable, rows_of
from llm.training.stage import MODEL_FOLDER, training_stage


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
    recipe, root = smoke_recipe(family.name, folder, steps=40, validate_every=20), folder / "stages"
    corpus = corpus_of(recipe, root=root, downloads=folder)
    tokenizer = tokenizer_of(recipe, corpus, None, root=root, downloads=folder)
    tokens = tokens_of(recipe, corpus, tokenizer, root=root)
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
