"""The exact twins in `transformers`: which of their weights and options is which of ours.

A model folder holds the twin's names, so any program that reads Hugging Face folders runs our models. Our fused
matrices (queries, keys and values in one) are the twin's matrices stacked along the output dimension.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from llm.errors import ModelFolderError
from llm.model.config import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from llm.model.decoder import LLAMA, DecoderModel
from llm.model.encoder import BERT, SEGMENTS, EncoderClassifier
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.layers import SelfAttention
from llm.model.positions import ROTARY_BASE
from llm.tokenizer import BOS_ID, EOS_ID, PAD_ID

# For the models that write text: where they begin, stop and are filled up.
_SPECIAL_IDS = {"pad_token_id": PAD_ID, "bos_token_id": BOS_ID, "eos_token_id": EOS_ID}

# Our parameter's name, then the twin's parameters that are stacked into it, in order.
Names = tuple[str, tuple[str, ...]]


class Twin(Protocol):
    """One assembly and its class in `transformers`."""

    @property
    def model_type(self) -> str:
        """`model_type` of its config.json."""

    @property
    def architecture(self) -> str:
        """Name of its class."""

    @property
    def model_class(self) -> type[nn.Module]:
        """Our assembly."""

    def names(self, model: Any) -> Iterator[Names]:
        """Every parameter of ours with the twin's parameters that it stacks."""

    def fixed_tensors(self, model: Any) -> dict[str, Tensor]:
        """Fixed tensors that the twin stores and we compute."""

    def options(self, model: Any) -> dict[str, Any]:
        """The twin's config.json."""

    def build(self, options: Mapping[str, Any], *, dropout: float) -> nn.Module:
        """A model of ours with the sizes of a twin's config.json."""


def _both(ours: str, twins: str) -> Iterator[Names]:
    for part in ("weight", "bias"):
        yield f"{ours}.{part}", (f"{twins}.{part}",)


def _stacked(ours: str, *twins: str) -> Iterator[Names]:
    for part in ("weight", "bias"):
        yield f"{ours}.{part}", tuple(f"{twin}.{part}" for twin in twins)


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
        return _SPECIAL_IDS | {
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

    def build(self, options: Mapping[str, Any], *, dropout: float) -> nn.Module:
        """See Twin."""
        required = {"hidden_act": "silu", "tie_word_embeddings": True, "attention_bias": False, "mlp_bias": False}
        _require(options, required | {"rms_norm_eps": LLAMA.norm_epsilon})
        config = DecoderConfig(
            width=options["hidden_size"],
            layers=options["num_hidden_layers"],
            heads=options["num_attention_heads"],
            kv_heads=options["num_key_value_heads"],
            feed_forward=options["intermediate_size"],
            max_positions=options["max_position_embeddings"],
            dropout=dropout,
        )
        return DecoderModel(config, options["vocab_size"])


@dataclass(frozen=True)
class BertTwin:
    """EncoderClassifier and BertForSequenceClassification."""

    model_type: str = "bert"
    architecture: str = "BertForSequenceClassification"
    model_class: type[nn.Module] = EncoderClassifier

    def names(self, model: EncoderClassifier) -> Iterator[Names]:
        """See Twin."""
        yield "embedding.weight", ("bert.embeddings.word_embeddings.weight",)
        yield "positions.weight", ("bert.embeddings.position_embeddings.weight",)
        yield "segments.weight", ("bert.embeddings.token_type_embeddings.weight",)
        yield from _both("embedding_norm", "bert.embeddings.LayerNorm")
        for number in range(model.config.layers):
            ours, twin = f"blocks.{number}", f"bert.encoder.layer.{number}"
            attention = (f"{twin}.attention.self.{name}" for name in ("query", "key", "value"))
            yield from _stacked(f"{ours}.attention.query_key_value", *attention)
            yield from _both(f"{ours}.attention.output", f"{twin}.attention.output.dense")
            yield from _both(f"{ours}.attention_norm", f"{twin}.attention.output.LayerNorm")
            yield from _both(f"{ours}.feed_forward.inner", f"{twin}.intermediate.dense")
            yield from _both(f"{ours}.feed_forward.output", f"{twin}.output.dense")
            yield from _both(f"{ours}.feed_forward_norm", f"{twin}.output.LayerNorm")
        yield from _both("pooler", "bert.pooler.dense")
        yield from _both("classifier", "classifier")

    def fixed_tensors(self, model: EncoderClassifier) -> dict[str, Tensor]:  # noqa: ARG002
        """See Twin: nothing here."""
        return {}

    def options(self, model: EncoderClassifier) -> dict[str, Any]:
        """See Twin."""
        config = model.config
        return {
            "vocab_size": model.vocabulary,
            "hidden_size": config.width,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "intermediate_size": config.feed_forward,
            "max_position_embeddings": config.max_positions,
            "type_vocab_size": SEGMENTS,
            "hidden_act": "gelu",
            "layer_norm_eps": BERT.norm_epsilon,
            "hidden_dropout_prob": config.dropout,
            "attention_probs_dropout_prob": 0.0,
            "pad_token_id": PAD_ID,
            "problem_type": "single_label_classification",
            "id2label": {str(number): label for number, label in enumerate(model.labels)},
            "label2id": {label: number for number, label in enumerate(model.labels)},
        }

    def build(self, options: Mapping[str, Any], *, dropout: float) -> nn.Module:
        """See Twin."""
        names = options["id2label"]
        labels = [names[str(i)] for i in range(len(names))]
        return EncoderClassifier(self.sizes(options, dropout=dropout), options["vocab_size"], labels=labels)

    def sizes(self, options: Mapping[str, Any], *, dropout: float) -> EncoderConfig:
        """The sizes in the config.json of any BERT.

        Raises ModelFolderError that names an option which is not plain BERT's.
        """
        required = {"hidden_act": "gelu", "type_vocab_size": SEGMENTS, "layer_norm_eps": BERT.norm_epsilon}
        _require(options, required)
        return EncoderConfig(
            width=options["hidden_size"],
            layers=options["num_hidden_layers"],
            heads=options["num_attention_heads"],
            feed_forward=options["intermediate_size"],
            max_positions=options["max_position_embeddings"],
            dropout=dropout,
        )


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
                yield from _stacked(
                    f"{ours}.attention.query_key_value", *(f"{twin}.self_attn.{name}_proj" for name in "qkv")
                )
                yield from _both(f"{ours}.attention.output", f"{twin}.self_attn.out_proj")
                yield from _both(f"{ours}.attention_norm", f"{twin}.self_attn_layer_norm")
                if side == "decoder":
                    yield from self._cross_names(ours, twin)
                yield from _both(f"{ours}.feed_forward.inner", f"{twin}.fc1")
                yield from _both(f"{ours}.feed_forward.output", f"{twin}.fc2")
                yield from _both(f"{ours}.feed_forward_norm", f"{twin}.final_layer_norm")
            yield from _both(f"{side}_norm", f"model.{side}.layer_norm")

    def _cross_names(self, ours: str, twin: str) -> Iterator[Names]:
        yield from _both(f"{ours}.cross_attention.query", f"{twin}.encoder_attn.q_proj")
        yield from _stacked(f"{ours}.cross_attention.key_value", *(f"{twin}.encoder_attn.{name}_proj" for name in "kv"))
        yield from _both(f"{ours}.cross_attention.output", f"{twin}.encoder_attn.out_proj")
        yield from _both(f"{ours}.cross_attention_norm", f"{twin}.encoder_attn_layer_norm")

    def fixed_tensors(self, model: EncoderDecoderModel) -> dict[str, Tensor]:
        """See Twin: the position tables, and a bias on the scores that is always zero."""
        positions = {f"model.{side}.embed_positions.weight": model.positions.clone() for side in ("encoder", "decoder")}
        return positions | {"final_logits_bias": model.positions.new_zeros((1, model.vocabulary))}

    def options(self, model: EncoderDecoderModel) -> dict[str, Any]:
        """See Twin."""
        config = model.config
        return _SPECIAL_IDS | {
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

    def build(self, options: Mapping[str, Any], *, dropout: float) -> nn.Module:
        """See Twin."""
        required = {"activation_function": "relu", "scale_embedding": True, "tie_word_embeddings": True}
        _require(options, required | {"decoder_start_token_id": PAD_ID})
        config = EncoderDecoderConfig(
            width=options["d_model"],
            encoder_layers=options["encoder_layers"],
            decoder_layers=options["decoder_layers"],
            heads=options["encoder_attention_heads"],
            feed_forward=options["encoder_ffn_dim"],
            max_positions=options["max_position_embeddings"],
            dropout=dropout,
        )
        return EncoderDecoderModel(config, options["vocab_size"])


# By the name that `transformers` gives the architecture in config.json.
TWINS: dict[str, Twin] = {
    "llama": LlamaTwin(),
    "bert": BertTwin(),
    "pegasus": PegasusTwin(),
}


def twin_of(model: nn.Module) -> Twin:
    """The twin of one of our assemblies."""
    return next(twin for twin in TWINS.values() if isinstance(model, twin.model_class))


def twin_config(model: nn.Module) -> dict[str, Any]:
    """The config.json of the twin."""
    twin = twin_of(model)
    frame = {"model_type": twin.model_type, "architectures": [twin.architecture], "dtype": "float32"}
    return frame | twin.options(model)


def to_twin(model: nn.Module) -> dict[str, Tensor]:
    """Our weights under the twin's names, each a tensor of its own."""
    twin = twin_of(model)
    ours = model.state_dict()
    weights: dict[str, Tensor] = {}
    for name, stacked in twin.names(model):
        for target, part in zip(stacked, _split(ours[name], model, name, len(stacked)), strict=True):
            weights[target] = part.detach().clone().contiguous()
    return weights | twin.fixed_tensors(model)


def from_twin(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill `model` with a twin's weights.

    Raises ModelFolderError that names the first weight that is missing or has another shape.
    """
    ours = model.state_dict()
    filled: dict[str, Tensor] = {}
    for name, stacked in twin_of(model).names(model):
        missing = [target for target in stacked if target not in weights]
        if missing:
            raise ModelFolderError(
                f"the weights lack {missing[0]!r}", remedy="use a complete folder of the same architecture"
            )
        value = torch.cat([weights[target] for target in stacked], dim=0)
        if value.shape != ours[name].shape:
            raise ModelFolderError(
                f"{stacked[0]!r} makes a tensor of shape {tuple(value.shape)}, but {tuple(ours[name].shape)} is needed",
                remedy="config.json and model.safetensors belong to different models: use a matching pair",
            )
        filled[name] = value.to(ours[name].dtype)
    model.load_state_dict(filled)


def _split(value: Tensor, model: nn.Module, name: str, parts: int) -> tuple[Tensor, ...]:
    if name.rsplit(".", 1)[0].endswith("query_key_value"):
        attention = model.get_submodule(name.rsplit(".", 2)[0])
        assert isinstance(attention, SelfAttention)
        sizes = attention.sizes
        widths = [sizes.heads * sizes.head_width] + 2 * [sizes.kv_heads * sizes.head_width]
        return torch.split(value, widths, dim=0)
    return tuple(value.chunk(parts, dim=0))


def _require(options: Mapping[str, Any], required: Mapping[str, Any]) -> None:
    for key, value in required.items():
        if options[key] != value:
            raise ModelFolderError(
                f"config.json: {key} = {options[key]!r}, but only {value!r} is supported",
                remedy="use a model of the plain architecture",
            )
