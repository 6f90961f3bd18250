"""Options of the training loop. Torch-free, so that a bad value is refused at once."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from llm.config import Config

# What changes training texts and must not change validation texts.
AUGMENTATIONS = ("subword_dropout", "word_crop")


class TrainingConfig(Config):
    """What the training loop does; everything here is part of a training's identity."""

    steps: int = Field(ge=1, description="optimizer steps, at most")
    targets: int = Field(
        0, ge=0, description="end after so many predicted tokens (of texts, for classification); 0: the steps decide"
    )
    minutes: float = Field(
        0.0,
        ge=0.0,
        description="end after so many minutes of training; 0: the steps decide. What a busy machine trains in a time "
        "is not repeatable to the bit",
    )
    # Not for people to set, so no form shows it; unset it is not written either, and keys stay what they were.
    limited: SkipJsonSchema[bool] = Field(
        False,
        exclude_if=lambda limited: not limited,
        description="the night gave it a time to end at: what came of that is no answer to who has all the time",
    )
    batch_tokens: int = Field(
        ge=1, description="tokens a batch (padding counted, subword_dropout not), for one forward pass"
    )
    accumulation: int = Field(1, ge=1, description="forward passes summed into one optimizer step")
    context: int = Field(ge=2, description="longest training sequence, in tokens; longer ones are cut")
    learning_rate: float = Field(gt=0.0, le=1.0, description="peak learning rate")
    warmup: int = Field(ge=0, description="steps of linear warm-up")
    decay: Literal["linear", "cosine", "constant", "late"] = Field(
        "linear", description="shape of the fall after the warm-up; late: constant, then a fall in the last fifth"
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="of the matrices inside the blocks; everything else is AdamW's"
    )
    weight_decay: float = Field(
        0.01, ge=0.0, le=1.0, description="AdamW's decoupled decay; on matrices, not on row-wise embeddings"
    )
    adam_beta2: float = Field(0.98, gt=0.0, lt=1.0, description="Adam's second-moment decay")
    average: float = Field(
        0.0, ge=0.0, lt=1.0, description="decay of a running mean of the weights that is validated and kept; 0: no mean"
    )
    clip_norm: float = Field(1.0, gt=0.0, description="gradients are scaled down to this norm")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="probability spread over the wrong classes")
    subword_dropout: float = Field(
        0.0, ge=0.0, lt=1.0, description="probability that a merge of the tokenizer is undone, anew in every batch"
    )
    word_crop: float = Field(
        0.0, ge=0.0, lt=1.0, description="classification: share of the training texts cut to one to three words"
    )
    made_texts: bool = Field(
        False,
        description="classification: train also on texts made of pieces of the training texts, which an n-gram model "
        "labels; for some thousand texts",
    )
    neighbours: bool = Field(
        False,
        description="classification: the first layer's attention heads begin on the tokens beside each; for few texts",
    )
    validation_batches: int = Field(64, ge=1, description="batches of the validation split that a validation scores")
    validate_every: int = Field(ge=1, description="steps between validations; each also writes a checkpoint")
    patience: int = Field(0, ge=0, description="stop after so many validations without improvement; 0 never stops")
    keep: Literal["best", "last"] = Field(
        "best", description="which weights come out: of the lowest validation loss, or of the last step"
    )
    keep_checkpoints: int = Field(2, ge=1, description="how many of the newest checkpoints stay on disk")
    seed: int = Field(1, ge=0, description="random seed of weights, order and dropout")
    threads: int = Field(2, ge=1, le=256, description="CPU threads; fixed, since they decide the last bits of the sums")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of matrix products; auto: bfloat16 where the processor has instructions for it, else float32",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA where there is one, else the CPU")

    @model_validator(mode="after")
    def _warmup_fits(self) -> TrainingConfig:
        if self.warmup >= self.steps:
            raise ValueError(f"warmup ({self.warmup}) must be smaller than steps ({self.steps})")
        return self
