"""The twin of the encoder: which of BERT's weights and options is which of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from llm.model.config import EncoderConfig
from llm.model.encoder import BERT, SEGMENTS, EncoderClassifier
from llm.model.twins.base import Names, both, require, stacked
from llm.tokenizer import PAD_ID


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
        yield from both("embedding_norm", "bert.embeddings.LayerNorm")
        for number in range(model.config.layers):
            ours, twin = f"blocks.{number}", f"bert.encoder.layer.{number}"
            attention = (f"{twin}.attention.self.{name}" for name in ("query", "key", "value"))
            yield from stacked(f"{ours}.attention.query_key_value", *attention)
            yield from both(f"{ours}.attention.output", f"{twin}.attention.output.dense")
            yield from both(f"{ours}.attention_norm", f"{twin}.attention.output.LayerNorm")
            yield from both(f"{ours}.feed_forward.inner", f"{twin}.intermediate.dense")
            yield from both(f"{ours}.feed_forward.output", f"{twin}.output.dense")
            yield from both(f"{ours}.feed_forward_norm", f"{twin}.output.LayerNorm")
        yield from both("pooler", "bert.pooler.dense")
        yield from both("classifier", "classifier")

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
        require(options, required)
        return EncoderConfig(
            width=options["hidden_size"],
            layers=options["num_hidden_layers"],
            heads=options["num_attention_heads"],
            feed_forward=options["intermediate_size"],
            max_positions=options["max_position_embeddings"],
            dropout=dropout,
        )
