"""A tiny BERT as `transformers` saves it."""

from __future__ import annotations

from pathlib import Path

from transformers import BertConfig, PreTrainedModel

from llm.tokenizer import TextTokenizer, wordpiece_tokenizer

WORDS = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "light", "is", "on", "##s", "off", ".", "e"]


def tiny_config(**changes: object) -> BertConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    return BertConfig(vocab_size=len(WORDS) + 2, max_position_embeddings=24, **(sizes | changes))


def save_checkpoint(model: PreTrainedModel, folder: Path) -> Path:
    """The folder with a tokenizer beside the model."""
    model.save_pretrained(folder)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    TextTokenizer(wordpiece_tokenizer(vocabulary, lowercase=True)).save(folder)
    vocabulary.unlink()
    return folder
