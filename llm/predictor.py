"""A trained model as its user meets it: a folder in, answers out, with torch and no orchestrator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm.config import parse_config
from llm.engines.base import Engine, load_engine
from llm.engines.config import EngineName, ServingConfig
from llm.errors import InputError
from llm.families import load_family
from llm.families.base import Answer, Family
from llm.model.folder import load_model, read_description
from llm.model.products import fast_products, products
from llm.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Predictor:
    """A model in evaluation mode, its tokenizer, its family and what writes its texts."""

    family: Family
    model: nn.Module
    tokenizer: TextTokenizer
    description: dict[str, Any]
    engine: Engine

    @classmethod
    def load(cls, folder: Path | str, *, device: str = "auto", engine: EngineName | None = None) -> Predictor:
        """Read a model folder; `engine` None takes the one that its recipe names.

        Raises ModelFolderError when something in it is missing or damaged, ConfigError when the engine's package is
        not installed or cannot run the model.
        """
        path = Path(folder)
        description = read_description(path)
        model = load_model(path).to(pick_device(device))
        tokenizer = TextTokenizer.load(path)
        chosen = engine or serving_of(description).engine
        return cls(
            family=load_family(description["family"]),
            model=model,
            tokenizer=tokenizer,
            description=description,
            engine=load_engine(chosen, folder=path, model=model, tokenizer=tokenizer),
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def max_positions(self) -> int:
        """Longest sequence that the model takes, in tokens."""
        longest: int = self.model.max_positions  # type: ignore[assignment]
        return longest

    def products(self) -> AbstractContextManager[None]:
        """Inside, the model multiplies in its own precision in the fastest way there is."""
        weight = next(self.model.parameters())
        return products(fast_products(weight.dtype, weight.device), weight.device)

    def predict(self, texts: Sequence[str], **params: Any) -> list[Answer]:
        """One answer a text, in order; `params` are the family's inference parameters, by name.

        Raises InputError for what is not text or is longer than the model takes, ConfigError for a parameter that
        does not exist or is out of bounds.
        """
        if isinstance(texts, str):
            raise InputError("predict takes a list of texts, not one text", remedy="write predict([text])")
        config = parse_config(self.family.params, params, where=f"parameters of {self.family.name}")
        read = self.tokenizer.encode_batch(self.family.prepare(texts))
        for number, (text, ids) in enumerate(zip(texts, read, strict=True)):
            if len(ids) > self.max_positions:
                raise InputError(
                    f"text {number} ({text[:40]!r}...) has {len(ids)} tokens, and the model takes {self.max_positions}",
                    remedy="shorten it, or split it into several",
                )
        return self.family.answer(self, texts, config)


def serving_of(description: Mapping[str, Any]) -> ServingConfig:
    """How the recipe in a nightshift.json wants the model to be run; recipes of old say nothing about it."""
    values = description["recipe"].get("serving", {})
    return parse_config(ServingConfig, values, where="serving")


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
