"""Which engine a registered model runs on. Torch-free, so that a bad value is refused at once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llm.config import Config

EngineName = Literal["torch", "torch-float16", "torch-bfloat16", "ctranslate2-float32", "ctranslate2-int8"]


# Distributions that an engine needs beyond those of every model.
ENGINE_PACKAGES: dict[EngineName, tuple[str, ...]] = {
    "torch": (),
    "torch-float16": (),
    "torch-bfloat16": (),
    "ctranslate2-float32": ("ctranslate2",),
    "ctranslate2-int8": ("ctranslate2",),
}


class ServingConfig(Config):
    """How the model is run once it is trained; scores, samples and the gate's repetition come from this engine."""

    engine: EngineName = Field(
        "torch",
        description="what writes the texts; all but float32 round the weights, ctranslate2 needs its package",
    )
    max_texts: int = Field(4096, ge=1, description="most texts of one call to the registered model, REST included")
