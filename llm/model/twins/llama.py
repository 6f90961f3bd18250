"""The twin of the decoder: which of Llama's weights and options is which of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from llm.model.config import DecoderConfig
from llm.model.decoder import LLAMA, DecoderModel
from llm.model.positions import ROTARY_BASE
from llm.model.twins.base import SPECIAL_IDS, Names, require


@dataclass(frozen=True)
class LlamaTwin:
    """DecoderModel and LlamaForCausalLM."""

    model_type: str = "llama"
    architecture: str = "LlamaForCausalLM"
    model_class: type[nn.Module] = DecoderModel

    def names(self, model: DecoderModel) -> Iterator[Names]:
        """See Twin."""
        yield "embedding.weight", ("model.embed_tokens.weight",)
        for number in range(model.config.layers):
            ours, twin = f"blocks.{number}", f"model.layers.{number}"
            attention = tuple(f"{twin}.self_attn.{name}_proj.weight" for name in "qkv")
            yield f"{ours}.attention.query_key_value.weight", attention
            yield f"{ours}.attention.output.weight", (f"{twin}.self_attn.o_proj.weight",)
            yield f"{ours}.attention_norm.weight", (f"{twin}.input_layernorm.weight",)
            gate_and_up = (f"{twin}.mlp.gate_proj.weight", f"{twin}.mlp.up_proj.weight")
            yield f"{ours}.feed_forward.inner.weight", gate_and_up
            yield f"{ours}.feed_forward.output.weight", (f"{twin}.mlp.down_proj.weight",)
            yield f"{ours}.feed_forward_norm.weight", (f"{twin}.post_attention_layernorm.weight",)
        yield "norm.weight", ("model.norm.weight",)

    def fixed_tensors(self, model: DecoderModel) -> dict[str, Tensor]:  # noqa: ARG002
        """See Twin: nothing here."""
        return {}

    def options(self, model: DecoderModel) -> dict[str, Any]:
        """See Twin."""
        config = model.config
        return SPECIAL_IDS | {
            "vocab_size": model.vocabulary,
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "head_dim": config.width // config.heads,
            "intermediate_size": config.feed_forward,
            "max_position_embeddings": config.max_positions,
            "hidden_act": "silu",
            "rms_norm_eps": LLAMA.norm_epsilon,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
            "rope_theta": ROTARY_BASE,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": True,
        }

    def sizes(self, options: Mapping[str, Any], *, dropout: float) -> DecoderConfig:
        """See Twin."""
        required = {"hidden_act": "silu", "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False}
        require(options, required | {"rms_norm_eps": LLAMA.norm_epsilon})
        return DecoderConfig(
            width=options["hidden_size"],
            layers=options["num_hidden_layers"],
            heads=options["num_attention_heads"],
            kv_heads=options["num_key_value_heads"],
            feed_forward=options["intermediate_size"],
            max_positions=options["max_position_embeddings"],
            dropout=dropout,
        )

    def build(self, options: Mapping[str, Any], *, dropout: float) -> nn.Module:
        """See Twin."""
        return DecoderModel(self.sizes(options, dropout=dropout), options["vocab_size"])
