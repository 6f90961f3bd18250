"""Models of ours with random weights, and their twins in `transformers` with the same."""

from __future__ import annotations

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from llm.model.config import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.encoder import EncoderClassifier
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.twins import to_twin, twin_config

VOCABULARY = 97
LABELS = ("de", "en", "fr")
AUTO = {
    "llama": AutoModelForCausalLM,
    "bert": AutoModelForSequenceClassification,
    "pegasus": AutoModelForSeq2SeqLM,
}


def build(config: DecoderConfig | EncoderConfig | EncoderDecoderConfig) -> nn.Module:
    torch.manual_seed(3)
    if isinstance(config, DecoderConfig):
        return DecoderModel(config, VOCABULARY).eval()
    if isinstance(config, EncoderConfig):
        return EncoderClassifier(config, VOCABULARY, labels=LABELS).eval()
    return EncoderDecoderModel(config, VOCABULARY).eval()


def empty_twin(model: nn.Module, *, attention: str = "sdpa") -> PreTrainedModel:
    options = {key: value for key, value in twin_config(model).items() if key not in ("architectures", "dtype")}
    kind = options.pop("model_type")
    config = AutoConfig.for_model(kind, **options)
    # Eager: the only way in which transformers gives attention out.
    twin: PreTrainedModel = AUTO[kind].from_config(config, attn_implementation=attention).eval()
    return twin


def twin_of(model: nn.Module, *, attention: str = "sdpa") -> PreTrainedModel:
    twin = empty_twin(model, attention=attention)
    report = twin.load_state_dict(to_twin(model), strict=False)
    # What is left out is tied to the embedding that was loaded.
    assert not report.unexpected_keys
    assert all("embed_tokens" in key or "lm_head" in key for key in report.missing_keys)
    return twin
