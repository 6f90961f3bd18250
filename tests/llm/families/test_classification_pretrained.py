"""Fine-tuning by configuration alone: a BERT that others trained becomes a classifier of ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from llm.families.classification import Classification
from llm.ingest.corpus import corpus_stage
from llm.model.pretrained import pretrained_stage
from llm.predictor import Predictor
from llm.recipe import Recipe
from llm.stages import Stage
from llm.tokenizer import TextTokenizer, wordpiece_tokenizer
from llm.tokens import TokenTable, rows_of, tokens_stage
from llm.training.stage import MODEL_FOLDER, training_stage

WORDS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "warm", "cold", "is", "the", "sea", "sun", "##s"]


@dataclass(frozen=True)
class FineTuned:
    """What the pipeline made of a tiny BERT."""

    recipe: Recipe
    corpus: Stage
    tokenizer: Stage
    tokens: Stage
    training: Stage

    @property
    def folder(self) -> Path:
        return self.training.path / MODEL_FOLDER

    def rows(self) -> list[dict[str, str]]:
        return rows_of(self.corpus.path, "test")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(7)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    TextTokenizer(wordpiece_tokenizer(folder / "vocab.txt", lowercase=True)).save(folder)
    return folder


def recipe_of(checkpoint: Path, data: Path) -> Recipe:
    values = Classification().presets()["pretrained"].model_dump(mode="json")
    values["corpus"] = {"source": "local_files", "format": "jsonl", "paths": [str(data)]}
    values["corpus"]["columns"] = {"text": "text", "label": "label"}
    values["splits"] = {"validation": 0.2, "test": 0.2, "salt": "tests"}
    values["model"] |= {"weights": {"kind": "folder", "path": str(checkpoint)}, "max_positions": 32}
    values["training"] |= {
        "steps": 60,
        "warmup": 5,
        "batch_tokens": 256,
        "context": 32,
        "learning_rate": 3e-3,
        "validate_every": 30,
        "threads": 1,
        "precision": "float32",
    }
    return Recipe.model_validate(values)


@pytest.fixture(scope="module")
def tuned(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> FineTuned:
    folder = tmp_path_factory.mktemp("tuned")
    data = folder / "rows.jsonl"
    texts = [
        (f"The {thing} is {word} {n}", word) for n in range(40) for thing in ("Sea", "suns") for word in WORDS[6:8]
    ]
    data.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in texts))
    recipe = recipe_of(checkpoint, data)
    root, family = folder / "stages", Classification()
    corpus = corpus_stage(
        recipe.corpus, recipe.cleaning, recipe.splits, fields=family.fields, root=root, downloads=folder
    )
    tokenizer = pretrained_stage(recipe.model, root=root, downloads=folder)
    tokens = tokens_stage(corpus, tokenizer, family=family, root=root)
    training = training_stage(
        recipe, corpus=corpus, tokens=tokens, tokenizer=tokenizer, root=root, report=lambda _step, _values: None
    )
    return FineTuned(recipe, corpus, tokenizer, tokens, training)


def test_it_learns_what_the_texts_say(tuned: FineTuned) -> None:
    answers = Predictor.load(tuned.folder).predict([row["text"] for row in tuned.rows()])
    assert [answer["label"] for answer in answers] == [row["label"] for row in tuned.rows()]


def test_training_starts_from_the_checkpoint_s_weights(tuned: FineTuned, checkpoint: Path) -> None:
    table = TokenTable.load(tuned.tokens.path / "train.safetensors")
    tokenizer = TextTokenizer.load(tuned.tokenizer.path)
    model = Classification().build_model(tuned.recipe.located(tuned.tokenizer.path), table, tokenizer)
    theirs = BertModel.from_pretrained(checkpoint)
    # Its vocabulary says nothing about our labels yet, and no row of it may be trained alone.
    assert torch.equal(model.embedding.weight, theirs.embeddings.word_embeddings.weight)
    assert not model.embedding.sparse


@torch.inference_mode()
def test_the_folder_is_read_by_transformers_with_the_same_ids_and_scores(tuned: FineTuned) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tuned.folder)
    twin = AutoModelForSequenceClassification.from_pretrained(tuned.folder).eval()
    predictor = Predictor.load(tuned.folder, device="cpu")
    text = "The SUNS, h\u00f6t [SEP] [MASK]"
    ids = tokenizer(text).input_ids
    assert ids == predictor.tokenizer.encode(text)
    assert (ids[0], ids[-1], ids[1:-1].count(4)) == (3, 4, 0)
    found = predictor.model(torch.tensor([ids]))
    torch.testing.assert_close(found, twin(torch.tensor([ids])).logits, atol=1e-4, rtol=0)


def test_the_folder_names_the_special_tokens_of_its_vocabulary(tuned: FineTuned) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tuned.folder)
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id) == (0, 3, 4)
    assert tokenizer.model_max_length == 32
    config = json.loads((tuned.folder / "config.json").read_text())
    assert config["pad_token_id"] == 0
    assert "bos_token_id" not in config


def test_what_the_checkpoint_brings_cannot_be_chosen_again(tuned: FineTuned) -> None:
    with pytest.raises(ValidationError, match="tokenizer must be null"):
        tuned.recipe.vary(tokenizer={"vocabulary": 500})
    with pytest.raises(ValidationError, match="no merges to undo"):
        tuned.recipe.vary(training={"subword_dropout": 0.1})
    fresh = Classification().presets()["quick"].model_dump()
    with pytest.raises(ValidationError, match="tokenizer is missing"):
        Recipe.model_validate(fresh | {"tokenizer": None})
