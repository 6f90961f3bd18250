"""An encoder that others have trained goes on under a classifier of ours, and still is BERT."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny_bert import save_checkpoint, tiny_config
from transformers import AutoModelForSequenceClassification, BertForMaskedLM, BertModel

from llm.errors import ModelFolderError
from llm.model.encoder import EncoderClassifier
from llm.model.folder import save_model
from llm.model.transfer import load_encoder

LABELS = ("bad", "good", "so-so")
IDS = torch.tensor([[3, 6, 7, 8, 9, 4], [3, 6, 7, 10, 4, 0]])


def load(folder: Path, **changes: object) -> EncoderClassifier:
    torch.manual_seed(5)
    return load_encoder(folder, **({"labels": LABELS, "dropout": 0.0, "max_positions": None} | changes)).eval()


def change_weights(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(change(weights), path, metadata={"format": "pt"})


@torch.inference_mode()
def test_the_pooled_text_is_what_transformers_pools(checkpoint: Path) -> None:
    expected = BertModel.from_pretrained(checkpoint).eval()(IDS, attention_mask=(IDS != 0).long()).pooler_output
    model = load(checkpoint)
    model.classifier = torch.nn.Identity()
    torch.testing.assert_close(model(IDS, mask=IDS != 0), expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_what_is_saved_scores_the_same_in_transformers(checkpoint: Path, tmp_path: Path) -> None:
    model = load(checkpoint)
    save_model(tmp_path / "ours", model, description={}, generation=None)
    twin = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours").eval()
    assert twin.config.id2label == dict(enumerate(LABELS))
    expected = twin(IDS, attention_mask=(IDS != 0).long()).logits
    torch.testing.assert_close(model(IDS, mask=IDS != 0), expected, atol=1e-5, rtol=0)


def test_the_classifier_is_drawn_from_the_random_state(checkpoint: Path) -> None:
    first, again = load(checkpoint), load(checkpoint)
    torch.manual_seed(6)
    other = load_encoder(checkpoint, labels=LABELS, dropout=0.0, max_positions=None)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert torch.equal(first.pooler.weight, other.pooler.weight)


def test_a_masked_language_model_gives_its_encoder_and_no_head(tmp_path: Path) -> None:
    theirs = BertForMaskedLM(tiny_config())
    model = load(save_checkpoint(theirs, tmp_path))
    assert torch.equal(model.embedding.weight, theirs.bert.embeddings.word_embeddings.weight)
    # It has no pooler, so ours is drawn.
    assert model.pooler.weight.std() > 0.05


def test_norms_under_their_first_names_are_found(checkpoint: Path) -> None:
    expected = load(checkpoint)
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def rename(weights: dict) -> dict:
        for new, old in names.items():
            weights = {name.replace(new, old): value + 0.5 * ("LayerNorm" in name) for name, value in weights.items()}
        return weights

    change_weights(checkpoint, rename)
    norm = load(checkpoint).embedding_norm
    torch.testing.assert_close(norm.weight, expected.embedding_norm.weight + 1.0)


def test_half_precision_is_read_as_single(checkpoint: Path) -> None:
    expected = load(checkpoint).embedding.weight
    change_weights(checkpoint, lambda weights: {name: value.half() for name, value in weights.items()})
    found = load(checkpoint).embedding.weight
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_fewer_positions_change_nothing_for_texts_that_fit(checkpoint: Path) -> None:
    short = load(checkpoint, max_positions=8)
    assert short.max_positions == 8
    whole = load(checkpoint)
    short.classifier = whole.classifier  # drawn after other numbers
    torch.testing.assert_close(short(IDS), whole(IDS))


def test_more_positions_than_the_checkpoint_has_are_refused(checkpoint: Path) -> None:
    with pytest.raises(ModelFolderError, match="has 24 positions") as caught:
        load(checkpoint, max_positions=25)
    assert "model.max_positions to 24" in caught.value.remedy


@pytest.mark.parametrize("name", ["encoder.layer.1.output.dense.bias", "embeddings.position_embeddings.weight"])
def test_a_missing_weight_of_the_encoder_is_named(checkpoint: Path, name: str) -> None:
    change_weights(checkpoint, lambda weights: {other: value for other, value in weights.items() if other != name})
    with pytest.raises(ModelFolderError, match=name.replace(".", r"\.")):
        load(checkpoint)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("model_type", "roberta"),
        ("hidden_act", "relu"),
        ("position_embedding_type", "relative_key"),
        ("layer_norm_eps", 1e-5),
        ("hidden_size", None),
    ],
)
def test_another_architecture_is_refused(checkpoint: Path, option: str, value: object) -> None:
    path = checkpoint / "config.json"
    options = json.loads(path.read_text())
    options[option] = value
    path.write_text(json.dumps({name: value for name, value in options.items() if value is not None}))
    with pytest.raises(ModelFolderError, match=option.removesuffix("_embedding_type").replace("position", "positions")):
        load(checkpoint)
