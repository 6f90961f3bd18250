"""Sizes of the three assemblies: what a user may choose. Torch-free, so that a bad value is refused at once."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from llm.config import Config

# A model folder's files, as `transformers` names them.
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class ModelSizes(Config):
    """What every assembly has."""

    writes_text: ClassVar[bool] = True  # token by token, so that an engine for decoding has something to do

    width: int = Field(ge=8, le=8192, multiple_of=2, description="D: width of the residual stream")
    heads: int = Field(ge=1, le=128, description="H: attention heads; must divide the width into even parts")
    feed_forward: int = Field(ge=8, le=65536, description="inner width of the feed-forward layers")
    max_positions: int = Field(ge=8, le=1 << 17, description="longest sequence, in tokens")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="share of activations dropped while training")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> ModelSizes:
        if self.width % (2 * self.heads):
            raise ValueError(f"width {self.width} must be a multiple of 2 x heads ({self.heads})")
        return self

    def least_weights(self, vocabulary: int) -> int:
        """How many weights a model has at least, with a matrix of `vocabulary` rows; the twins' checkpoints hold them.

        Of a block the two matrices of the feed-forward layer, and the attention's queries and output.
        """
        blocks: int = sum(getattr(self, name) for name in type(self).model_fields if name.endswith("layers"))
        return self.width * (vocabulary + 2 * blocks * (self.feed_forward + self.width))


class DecoderConfig(ModelSizes):
    """A decoder for generation; twin: Llama (RMSNorm first, rotary positions, SwiGLU, no bias)."""

    assembly: Literal["decoder"] = "decoder"
    layers: int = Field(ge=1, le=128, description="Transformer blocks")
    kv_heads: int = Field(ge=1, le=128, description="key/value heads (grouped-query attention); must divide the heads")

    @model_validator(mode="after")
    def _kv_heads_divide_heads(self) -> DecoderConfig:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} must be a multiple of kv_heads ({self.kv_heads})")
        return self


class EncoderConfig(ModelSizes):
    """An encoder for classification; twin: BERT (LayerNorm after, learned positions, GELU, biases)."""

    writes_text: ClassVar[bool] = False
    assembly: Literal["encoder"] = "encoder"
    layers: int = Field(ge=1, le=128, description="Transformer blocks")

    def least_weights(self, vocabulary: int) -> int:
        """See ModelSizes: here positions are learned too."""
        return super().least_weights(vocabulary) + self.width * self.max_positions


class EncoderDecoderConfig(ModelSizes):
    """An encoder and a decoder for translation; twin: Pegasus (LayerNorm first, sinusoidal positions, ReLU, biases)."""

    assembly: Literal["encoder_decoder"] = "encoder_decoder"
    encoder_layers: int = Field(ge=1, le=128, description="Transformer blocks that read the source")
    decoder_layers: int = Field(ge=1, le=128, description="Transformer blocks that write the target")
