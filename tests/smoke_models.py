"""A tiny model of any family, trained for some steps on sentences that are made here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from made_rows import sentence

from llm.chain import corpus_of, tokenizer_of, tokens_of
from llm.families import load_family
from llm.recipe import Recipe
from llm.training.stage import MODEL_FOLDER, training_stage

_ROWS = 120
# What a row of each family's corpus looks like.
MAKERS: dict[str, Callable[[int], dict[str, str]]] = {
    "generation": lambda n: {"text": "\n".join(sentence(n + line) for line in range(12))},
    "translation": lambda n: {"source": sentence(n), "target": sentence(n).upper()},
    "classification": lambda n: (
        {"text": sentence(n).upper(), "label": "loud"} if n % 2 else {"text": sentence(n), "label": "quiet"}
    ),
}


def smoke_recipe(name: str, folder: Path, **training: object) -> Recipe:
    """The smoke recipe of a family on rows that are written into `folder`, with these options of training."""
    family = load_family(name)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(MAKERS[name](number)) + "\n" for number in range(_ROWS)), encoding="utf-8")
    values = family.presets()["smoke"].model_dump(mode="json")
    columns = {field: field for field in family.fields}
    values["corpus"] = {"source": "local_files", "format": "jsonl", "paths": [str(data)], "columns": columns}
    values["splits"] = {"validation": 0.2, "test": 0.2, "salt": "tests"}
    values["training"] |= {"threads": 1, "precision": "float32", "context": 32} | training
    return Recipe.model_validate(values)


def train_smoke(name: str, folder: Path) -> Path:
    """Train the smoke recipe of a family in `folder`; returns the model's folder."""
    recipe, root = smoke_recipe(name, folder, steps=10, validate_every=5), folder / "stages"
    corpus = corpus_of(recipe, root=root, downloads=folder)
    tokenizer = tokenizer_of(recipe, corpus, None, root=root, downloads=folder)
    tokens = tokens_of(recipe, corpus, tokenizer, root=root)
    training = training_stage(
        recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=root, report=lambda step, values: None
    )
    return training.path / MODEL_FOLDER
