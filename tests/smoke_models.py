"""A tiny model of any family, trained for some steps on sentences that are made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from llm.families import load_family
from llm.ingest.corpus import corpus_stage
from llm.recipe import Recipe
from llm.tokenizer_training import tokenizer_stage
from llm.tokens import tokens_stage
from llm.training.stage import MODEL_FOLDER, training_stage

_ROWS = 120
_WORDS = ["house", "river", "stone", "cloud", "bridge", "garden", "window", "morning"]


def sentence(number: int) -> str:
    """Four words, of which the last is the number."""
    return " ".join(_WORDS[(number * step + step) % len(_WORDS)] for step in (1, 3, 5)) + f" {number}"


# What a row of each family's corpus looks like.
MAKERS: dict[str, Callable[[int], dict[str, str]]] = {
    "generation": lambda n: {"text": "\n".join(sentence(n + line) for line in range(12))},
    "translation": lambda n: {"source": sentence(n), "target": sentence(n).upper()},
    "classification": lambda n: (
        {"text": sentence(n).upper(), "label": "loud"} if n % 2 else {"text": sentence(n), "label": "quiet"}
    ),
}


def train_smoke(name: str, folder: Path) -> Path:
    """Train the smoke recipe of a family in `folder`; returns the model's folder."""
    family = load_family(name)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(MAKERS[name](number)) + "\n" for number in range(_ROWS)), encoding="utf-8")
    values = family.presets()["smoke"].model_dump(mode="json")
    columns = {field: field for field in family.fields}
    values["corpus"] = {"source": "local_files", "format": "jsonl", "paths": [str(data)], "columns": columns}
    values["splits"] = {"validation": 0.2, "test": 0.2, "salt": "tests"}
    values["training"] |= {"threads": 1, "precision": "float32", "context": 32, "steps": 10, "validate_every": 5}
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
    training = training_stage(
        recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=root, report=lambda step, values: None
    )
    return training.path / MODEL_FOLDER
