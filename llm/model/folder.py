"""Model folders: ordinary Hugging Face folders that our assemblies and their twins both load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from llm.errors import ModelFolderError
from llm.files import write_atomically, write_json
from llm.model.config import CONFIG_FILE, WEIGHTS_FILE
from llm.model.twins import TWINS, from_twin, to_twin, twin_config
from llm.model.weights import build_to_fit, read_weights
from llm.untrusted import options_of

NIGHTSHIFT_FILE = "nightshift.json"
GENERATION_FILE = "generation_config.json"
# How a class of `transformers` ends (`architectures` in config.json), and the class that loads any such model.
_AUTO_CLASSES = {
    "ForCausalLM": "AutoModelForCausalLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
}
_OTHERWISE = "AutoModelForSeq2SeqLM"


def save_model(
    folder: Path, model: nn.Module, *, description: Mapping[str, Any], generation: Mapping[str, Any] | None
) -> None:
    """Write config.json, model.safetensors, nightshift.json and, for models that write text, generation_config.json.

    `description` is what Nightshift itself needs to know (family, recipe, training key); `generation` the defaults
    that `transformers` decodes with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = twin_config(model)
    write_json(folder / CONFIG_FILE, config)
    weights = to_twin(model)
    write_atomically(
        folder / WEIGHTS_FILE,
        lambda temporary: safetensors.torch.save_file(weights, str(temporary), metadata={"format": "pt"}),
    )
    if generation is not None:
        special = {key: value for key, value in config.items() if key.endswith("_token_id")}
        write_json(folder / GENERATION_FILE, special | dict(generation))
    write_json(folder / NIGHTSHIFT_FILE, dict(description))


def load_model(folder: Path, *, dropout: float = 0.0) -> nn.Module:
    """A model of ours, in evaluation mode, from a folder that we or `transformers` wrote.

    Raises ModelFolderError when a file is missing or damaged, or the architecture is not one of the twins.
    """
    options = read_options(folder)
    kind = options.get("model_type")
    if not isinstance(kind, str) or kind not in TWINS:
        raise ModelFolderError(
            f"{folder / CONFIG_FILE}: model_type is {kind!r}",
            remedy=f"use a folder whose model_type is one of {', '.join(TWINS)}",
        )
    twin = TWINS[kind]
    weights = read_weights(folder)
    model = build_to_fit(
        folder,
        options,
        weights,
        sizes=lambda: twin.sizes(options, dropout=dropout),
        build=lambda: twin.build(options, dropout=dropout),
    )
    from_twin(model, weights, file=folder / WEIGHTS_FILE)
    return model.eval()


def read_options(folder: Path) -> dict[str, Any]:
    """config.json.

    Raises ModelFolderError when it is missing, not a JSON object, or asks for code to be run.
    """
    return options_of(folder, CONFIG_FILE)


def auto_class(options: Mapping[str, Any]) -> str:
    """The class of `transformers` that loads a folder with this config.json, by name."""
    architecture = options["architectures"][0]
    return next((auto for ending, auto in _AUTO_CLASSES.items() if architecture.endswith(ending)), _OTHERWISE)


def read_description(folder: Path) -> dict[str, Any]:
    """nightshift.json: family, recipe and where the model came from.

    Raises ModelFolderError when it is missing, not a JSON object, or lacks the first two.
    """
    description = options_of(folder, NIGHTSHIFT_FILE)
    for key, kind in (("family", str), ("recipe", dict)):
        if not isinstance(description.get(key), kind):
            raise ModelFolderError(
                f"{folder / NIGHTSHIFT_FILE}: {key} is {description.get(key)!r:.40}",
                remedy="name a model folder that Nightshift wrote",
            )
    return description
