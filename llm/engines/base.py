"""The one interface behind which engines write text, and how an engine is chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from llm.config import Config
from llm.decoding.config import SearchConfig
from llm.engines.config import EngineName
from llm.engines.ctranslate2_engine import CTranslate2Engine
from llm.engines.ctranslate2_folder import converted, writes_text
from llm.engines.torch_engine import TorchEngine
from llm.errors import ConfigError
from llm.tokenizer import TextTokenizer

# Engines of ours whose products are rounded, and to what.
_ROUNDED: dict[EngineName, torch.dtype] = {"torch-float16": torch.float16, "torch-bfloat16": torch.bfloat16}


class Engine(Protocol):
    """Writes texts with one model."""

    def write(
        self, inputs: Sequence[Sequence[int]], config: SearchConfig, *, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        """New tokens for each input, in order, without `</s>`: a prompt's continuation, or a source's target.

        A prompt begins with `<s>`; a source ends with `</s>`. The same call gives the same texts, on one engine.
        `numbers` choose each input's random numbers, None its place; they matter where texts are `independent`.

        Raises InputError when an input does not fit the model with `config.max_new_tokens` more tokens.
        """

    def stream(self, ids: Sequence[int], config: SearchConfig) -> Iterator[int]:
        """What `write([ids], config)` gives, token by token where the engine and the search can, else at its end."""

    def independent(self, config: Config) -> bool:
        """Whether a text is written as it is alone, up to rounding, whatever is written beside it with `config`."""


@dataclass(frozen=True)
class Renumbered:
    """An engine whose inputs have these numbers, whatever their places."""

    engine: Engine
    own: Sequence[int]

    def write(
        self, inputs: Sequence[Sequence[int]], config: SearchConfig, *, numbers: Sequence[int] | None = None
    ) -> list[list[int]]:
        """See Engine."""
        return self.engine.write(inputs, config, numbers=self.own if numbers is None else numbers)

    def stream(self, ids: Sequence[int], config: SearchConfig) -> Iterator[int]:
        """See Engine."""
        return self.engine.stream(ids, config)

    def independent(self, config: Config) -> bool:
        """See Engine."""
        return self.engine.independent(config)


def load_engine(name: EngineName, *, folder: Path, model: nn.Module, tokenizer: TextTokenizer) -> Engine:
    """The engine of that name for the model in `folder`; files that it needs and `folder` lacks are written there.

    Raises ConfigError when its package is not installed, or `model` writes no text and the engine can do nothing else.
    """
    if name == "torch":
        return TorchEngine(model)
    if not writes_text(model):
        raise ConfigError(
            f"{folder}: a {type(model).__name__} cannot run on {name}, which only writes text",
            remedy="use the engine torch",
        )
    if name in _ROUNDED:
        return TorchEngine(model, dtype=_ROUNDED[name])
    compute_type = name.removeprefix("ctranslate2-")
    files = converted(folder, model, tokens=tokenizer.tokens(), compute_type=compute_type)
    return CTranslate2Engine(files, model, compute_type=compute_type)
