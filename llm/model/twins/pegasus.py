"""The twin of the encoder-decoder: which of Pegasus's weights and options is which of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from llm.model.config import EncoderDecoderConfig
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.twins.base import SPECIAL_IDS, Names, both, require, stacked
from llm.tokenizer import PAD_ID


@dataclass(frozen=True)
class PegasusTwin:
    """EncoderDecoderModel and PegasusForConditionalGeneration."""

    model_type: str = "pegasus"
    architecture: str = "PegasusForConditionalGeneration"
    model_class: type[nn.Module] = EncoderDecoderModel

    def names(self, model: EncoderDecoderModel) -> Iterator[Names]:
        """See Twin."""
        yield "embedding.weight", ("model.shared.weight",)
        sides = (("encoder", model.config.encoder_layers), ("decoder", model.config.decoder_layers))
        for side, layers in sides:
            for number in range(layers):
                ours, twin = f"{side}_blocks.{number}", f"model.{side}.layers.{number}"
                yield from stacked(
                    f"{ours}.attention.query_key_value", *(f"{twin}.self_attn.{name}_proj" for name in "qkv")
                )
                yield from both(f"{ours}.attention.output", f"{twin}.self_attn.out_proj")
                yield from both(f"{ours}.attention_norm", f"{twin}.self_attn_layer_norm")
                if side == "decoder":
                    yield from self._cross_names(ours, twin)
                yield from both(f"{ours}.feed_forward.inner", f"{twin}.fc1")
                yield from both(f"{ours}.feed_forward.output", f"{twin}.fc2")
                yield from both(f"{ours}.feed_forward_norm", f"{twin}.final_layer_norm")
            yield from both(f"{side}_norm", f"model.{side}.layer_norm")

    def _cross_names(self, ours: str, twin: str) -> Iterator[Names]:
        yield from both(f"{ours}.cross_attention.query", f"{twin}.encoder_attn.q_proj")
        yield from stacked(f"{ours}.cross_attention.key_value", *(f"{twin}.encoder_attn.{name}_proj" for name in "kv"))
        yield from both(f"{ours}.cross_attention.output", f"{twin}.encoder_attn.out_proj")
        yield from both(f"{ours}.cross_attention_norm", f"{twin}.encoder_attn_layer_norm")

    def fixed_tensors(self, model: EncoderDecoderModel) -> dict[str, Tensor]:
        """See Twin: the position tables, and a bias on the scores that is always zero."""
        positions = {f"model.{side}.embed_positions.weight": model.positions.clone() for side in ("encoder", "decoder")}
        return positions | {"final_logits_bias": model.positions.new_zeros((1, model.vocabulary))}

    def options(self, model: EncoderDecoderModel) -> dict[str, Any]:
        """See Twin."""
        config = model.config
        return SPECIAL_IDS | {
            "vocab_size": model.vocabulary,
            "d_model": config.width,
            "encoder_layers": config.encoder_layers,
            "decoder_layers": config.decoder_layers,
            "encoder_attention_heads": config.heads,
            "decoder_attention_heads": config.heads,
            "encoder_ffn_dim": config.feed_forward,
            "decoder_ffn_dim": config.feed_forward,
            "max_position_embeddings": config.max_positions,
            "activation_function": "relu",
            "scale_embedding": True,
            "dropout": config.dropout,
            "attention_dropout": 0.0,
            "activation_dropout": 0.0,
            "is_encoder_decoder": True,
            "decoder_start_token_id": PAD_ID,
            "forced_eos_token_id": None,
            "tie_word_embeddings": True,
        }

    def sizes(self, options: Mapping[str, Any], *, dropout: float) -> EncoderDecoderConfig:
        """See Twin."""
        required = {"activation_function": "relu", "scale_embedding": True, "tie_word_embeddings": True}
        require(options, required | {"decoder_start_token_id": PAD_ID})
        return EncoderDecoderConfig(
            width=options["d_model"],
            encoder_layers=options["encoder_layers"],
            decoder_layers=options["decoder_layers"],
            heads=options["encoder_attention_heads"],
            feed_forward=options["encoder_ffn_dim"],
            max_positions=options["max_position_embeddings"],
            dropout=dropout,
        )

    def build(self, options: Mapping[str, Any], *, dropout: float) -> nn.Module:
        """See Twin."""
        return EncoderDecoderModel(self.sizes(options, dropout=dropout), options["vocab_size"])
