"""Where a training begins: from nothing, or from the champion of the nights before.

A champion's rows of the embedding mean something to its own vocabulary only, so whoever goes on from it keeps its
tokenizer; a tokenizer learned anew from a corpus that grew by one text would already be another one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from llm.errors import ModelFolderError
from llm.files import sha256_of
from llm.model.config import WEIGHTS_FILE
from llm.model.folder import read_description
from llm.model.twins import from_twin
from llm.model.weights import read_weights
from llm.recipe import Recipe
from llm.stages import Stage

log = logging.getLogger(__name__)

_KEY_LENGTH = 16
# What a champion's recipe must share with ours, dropout aside: what its weights fit, and which texts it has not seen.
_SHARED = ("tokenizer", "model", "splits")


@dataclass(frozen=True)
class Start:
    """A champion whose weights a training goes on from."""

    folder: Path
    key: str  # identifies the weights
    training: str  # key of the training that made it
    tokenizer: str  # key of its tokenizer stage
    before: str | None  # what that training went on from; None: from nothing

    def fill(self, model: nn.Module) -> None:
        """Give `model` the champion's weights.

        Raises ModelFolderError when they cannot be read or do not fit.
        """
        from_twin(model, read_weights(self.folder), file=self.folder / WEIGHTS_FILE)


def choose_start(recipe: Recipe, corpus: Stage, champion: Path | None) -> Start | None:
    """The champion in folder `champion` where the recipe asks for it and it fits; None: from nothing.

    Raises ModelFolderError when the folder is incomplete.
    """
    if recipe.start == "fresh":
        return None
    if champion is None:
        log.info("training starts fresh: %s has no champion yet", recipe.family)
        return None
    description = read_description(champion)
    problem = _misfit(recipe, corpus, description)
    if problem is not None:
        log.info("training starts fresh: the champion %s", problem)
        return None
    path = champion / WEIGHTS_FILE
    if not path.is_file():
        raise ModelFolderError(f"{path}: no such file", remedy=f"delete {champion}: it will be pulled anew")
    return Start(
        folder=champion,
        key=sha256_of(path)[:_KEY_LENGTH],
        training=description["training_key"],
        tokenizer=description["tokenizer"],
        before=description["start"],
    )


def for_successors(corpus: Stage, tokenizer: Stage, before: str | None) -> dict[str, Any]:
    """What nightshift.json says to a training that will go on from this one; see `Start`."""
    return {"labels": _labels(corpus), "tokenizer": tokenizer.key, "start": before}


def _misfit(recipe: Recipe, corpus: Stage, description: Mapping[str, Any]) -> str | None:
    """Why the champion's weights are of no use; None: they are."""
    if "labels" not in description:
        return "was trained before Nightshift wrote down what a successor needs"
    mine, theirs = _without_dropout(recipe.model_dump(mode="json")), _without_dropout(description["recipe"])
    for part in _SHARED:
        if mine[part] != theirs.get(part):
            return f"has other options of {part}"
    if description["labels"] != _labels(corpus):
        return "knows other labels"
    return None


def _without_dropout(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {**recipe, "model": {name: value for name, value in recipe["model"].items() if name != "dropout"}}


def _labels(corpus: Stage) -> list[str]:
    """The labels of all splits, sorted; none where rows have no label."""
    splits: dict[str, dict[str, Any]] = corpus.facts["splits"]
    return sorted({label for facts in splits.values() for label in facts.get("labels", ())})
