"""A trained model as its user meets it: a folder in, answers out, with torch and no orchestrator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from llm.config import Config, parse_config
from llm.engines.base import Engine, Renumbered, load_engine
from llm.engines.config import EngineName, ServingConfig
from llm.errors import InputError, ModelFolderError
from llm.families import load_family
from llm.families.base import Answer, Family
from llm.model.folder import load_model, read_description
from llm.model.products import fast_products, products
from llm.tokenizer import TOKENIZER_FILE, TextTokenizer


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
        _require_rows(model, tokenizer, path)
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

        Raises InputError for what is not text, is empty or is longer than the model takes, ConfigError for a parameter
        that does not exist or is out of bounds.
        """
        if isinstance(texts, str):
            raise InputError("predict takes a list of texts, not one text", remedy="write predict([text])")
        config = self.parse_params(params)
        self.check(texts, config)
        return self.family.answer(self, texts, config)

    def stream(self, text: str, **params: Any) -> Iterator[str]:
        """The answer to one text in pieces, as the model writes them; joined, they are what `predict` answers.

        No piece ends within a character. Beam search and CTranslate2 write the whole text first: then it comes as
        one. Raises what `predict` raises, before the first piece, and InputError in a family that writes no text.
        """
        config = self.parse_params(params)
        self.check([text], config)
        return self.family.stream(self, text, config)

    def answer_together(self, requests: Sequence[Sequence[str]], config: Config) -> list[list[Answer]]:
        """The answers to several requests that were checked, in one call; each as alone where `engine.independent`."""
        texts = [text for request in requests for text in request]
        numbers = [number for request in requests for number in range(len(request))]
        answers = iter(self.family.answer(replace(self, engine=Renumbered(self.engine, numbers)), texts, config))
        return [list(islice(answers, len(request))) for request in requests]

    def parse_params(self, params: Mapping[str, Any]) -> Config:
        """The family's inference parameters; those left out have their defaults.

        Raises ConfigError for a parameter that does not exist or is out of bounds.
        """
        return parse_config(self.family.params, params, where=f"parameters of {self.family.name}")

    def check(self, texts: Sequence[str], config: Config) -> None:
        """Raise InputError, which gives the number of the first text that is no text, is empty, or is too long."""
        room = self.family.room(config, max_positions=self.max_positions)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"text {number} is {type(text).__name__}, not str", remedy="give text only")
            if not text.strip():
                raise InputError(f"text {number} is empty", remedy="leave it out, or write something in it")
        for number, (text, told) in enumerate(zip(texts, self.too_long(texts, config), strict=True)):
            if told is not None:
                raise InputError(f"text {number} ({text[:40]!r}...) {told}", remedy=room.remedy)

    def too_long(self, texts: Sequence[str], config: Config) -> list[str | None]:
        """What is to be said of each text that is too long, as in "has 70 tokens, and the model takes 64"; else None.

        Raises InputError for what is not text that UTF-8 can write.
        """
        room = self.family.room(config, max_positions=self.max_positions)
        lengths = [len(ids) for ids in self._read(texts)]
        return [f"has {length} tokens, and {room.limit}" if length > room.tokens else None for length in lengths]

    @property
    def max_texts(self) -> int:
        """Most texts of one call to the registered or served model."""
        return serving_of(self.description).max_texts

    def check_count(self, texts: Sequence[str]) -> None:
        """Raise InputError when there are more texts than `max_texts`."""
        if len(texts) > self.max_texts:
            raise InputError(
                f"{len(texts)} texts in one call, and the model takes {self.max_texts} (serving.max_texts)",
                remedy="send them in several calls",
            )

    def shortened(self, text: str) -> str:
        """The text, or a beginning of it that fits the model with the default parameters."""
        room = self.family.room(self.family.params(), max_positions=self.max_positions)
        while text and (tokens := len(self._read([text])[0])) > room.tokens:
            text = text[: max(0, min(len(text) * room.tokens // tokens, len(text) - 1))]
        return text

    def _read(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer.encode_batch(self.family.prepare(texts))


def _require_rows(model: nn.Module, tokenizer: TextTokenizer, path: Path) -> None:
    rows: int = model.vocabulary  # type: ignore[assignment]
    if tokenizer.size > rows:
        raise ModelFolderError(
            f"{path / TOKENIZER_FILE}: {tokenizer.size} entries, but the weights have {rows}",
            remedy="use the tokenizer that belongs to the weights",
        )


def serving_of(description: Mapping[str, Any]) -> ServingConfig:
    """How the recipe in a nightshift.json wants the model to be run; recipes of old say nothing about it."""
    values = description["recipe"].get("serving", {})
    return parse_config(ServingConfig, values, where="serving")


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
