"""Learning a tokenizer's vocabulary from a corpus: byte-level BPE, and the stage that keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from pydantic import Field, model_validator

from llm.batching import in_order
from llm.config import Config
from llm.errors import CorpusError
from llm.files import read_jsonl, sha256_of
from llm.stages import Stage, StageSpec, open_stage, run_stage
from llm.tokenizer import BATCH_CHARACTERS, SPECIAL_TOKENS, TOKENIZER_FILE, WORD_END, TextTokenizer, allow_parallelism

_STAGE_VERSION = 3

# One character for each byte that can end a word in UTF-8: ASCII, and the continuation bytes.
_LAST_BYTES = [chr(code) for code in (*range(0x80), *range(0x80, 0xC0))]


class TokenizerConfig(Config):
    """How the vocabulary is learned; 260 = 4 special tokens and the 256 bytes, the least that can write any text."""

    vocabulary: int = Field(ge=260, le=1 << 20, description="most entries in the vocabulary, special tokens included")
    prefix_space: bool = Field(
        False, description="put a space before the text, so that its first word is the same tokens as elsewhere"
    )
    word_ends: bool = Field(
        False, description="mark the token that ends a word, so that endings are known as such; needs 452 entries"
    )
    minimum_frequency: int = Field(2, ge=1, description="a pair seen less often than this is never merged")

    @model_validator(mode="after")
    def _holds_marked_bytes(self) -> TokenizerConfig:
        fewest = len(SPECIAL_TOKENS) + 256 + len(_LAST_BYTES)
        if self.word_ends and self.vocabulary < fewest:
            raise ValueError(f"vocabulary ({self.vocabulary}) must be at least {fewest} with word_ends")
        return self


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig, *, template: str) -> tokenizers.Tokenizer:
    """Learn a byte-level BPE (Sennrich et al. 2016, over bytes as in GPT-2) from `texts`; the same texts give the same.

    `template` frames every encoded text: "<s> $A </s>" puts a control token on each side.
    """
    allow_parallelism()
    # A tokenizer of its own, since what the trainer is given as special tokens is special to the one that it trains.
    tokenizer = tokenizers.Tokenizer(_learnt(texts, config))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.pre_tokenizer = _cut(config)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    if config.word_ends:
        unmark = tokenizers.decoders.Replace(WORD_END, "")
        tokenizer.decoder = tokenizers.decoders.Sequence([unmark, tokenizer.decoder])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single=template,
        special_tokens=[(token, index) for index, token in enumerate(SPECIAL_TOKENS) if token in template.split()],
    )
    return tokenizer


def _cut(config: TokenizerConfig) -> Any:
    # The regex keeps letters apart from punctuation, so no merge can ever spell a special token such as "<s>".
    return tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=config.prefix_space, use_regex=True)


def _learnt(texts: Iterable[str], config: TokenizerConfig) -> Any:
    """The BPE model: special tokens, bytes and marked bytes in a fixed order, then the merges."""
    marks: dict[str, Any] = {"end_of_word_suffix": WORD_END} if config.word_ends else {}
    learner = tokenizers.Tokenizer(tokenizers.models.BPE(**marks))
    learner.pre_tokenizer = _cut(config)
    first = [*SPECIAL_TOKENS, *sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())]
    if config.word_ends:
        # The trainer numbers the marked bytes of the texts as it meets them, in a hash map that is seeded anew in every
        # process; equally frequent pairs are merged in the order of these numbers. One that no text has would be
        # missing, and words that end with it disappear.
        first += sorted(_as_written(character)[-1] + WORD_END for character in _LAST_BYTES)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.minimum_frequency,
        # These get their numbers before anything else, in this order.
        special_tokens=first,
        show_progress=False,
        **marks,
    )
    learner.train_from_iterator(texts, trainer=trainer)
    return learner.model


def _as_written(character: str) -> str:
    """The UTF-8 bytes of a character in byte-level BPE's alphabet."""
    [(piece, _)] = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        character
    )
    return str(piece)


def tokenizer_stage(
    corpus: Stage, config: TokenizerConfig, *, fields: Sequence[str], template: str, root: Path
) -> Stage:
    """Train a tokenizer on `fields` of the train split alone.

    The folder holds tokenizer.json and tokenizer_config.json; facts: entries, and what it was trained on.
    """
    spec = StageSpec(
        name="tokenizer",
        version=_STAGE_VERSION,
        config={"tokenizer": config.model_dump(mode="json"), "fields": list(fields), "template": template},
        inputs={"corpus": corpus},
    )

    def build(folder: Path) -> dict[str, Any]:
        train = corpus.path / "train.jsonl"

        def texts() -> Iterator[str]:
            return (row[field] for row in read_jsonl(train) for field in fields)

        if next(texts(), None) is None:
            raise CorpusError(f"{train}: no rows to train a tokenizer on", remedy="give the corpus more data")
        tokenizer = TextTokenizer(train_tokenizer(texts(), config, template=template))
        tokenizer.save(folder)
        sizes = _sizes(texts(), tokenizer)
        return {
            "vocabulary": tokenizer.size,
            **sizes,
            "bytes_per_token": round(sizes["bytes"] / max(sizes["tokens"], 1), 3),
        }

    return run_stage(spec, build, root=root)


def kept_tokenizer_stage(folder: Path, key: str, *, root: Path) -> Stage:
    """The tokenizer of a model in `folder`, for a training that goes on from it; facts: entries.

    It is the stage `key` where that is still there, since what was made of that stage can then be used again too.

    Raises ModelFolderError when it is missing or damaged.
    """
    if (root / "tokenizer" / key).exists():
        return open_stage(root / "tokenizer" / key)
    tokenizer = TextTokenizer.load(folder)
    inputs = {TOKENIZER_FILE: sha256_of(folder / TOKENIZER_FILE)}
    spec = StageSpec(name="tokenizer", version=_STAGE_VERSION, config={}, inputs=inputs)

    def build(target: Path) -> dict[str, Any]:
        tokenizer.save(target)
        return {"vocabulary": tokenizer.size}

    return run_stage(spec, build, root=root)


def _sizes(texts: Iterable[str], tokenizer: TextTokenizer) -> dict[str, int]:
    sizes = {"texts": 0, "bytes": 0, "tokens": 0}
    for batch in in_order(texts, size=len, most=BATCH_CHARACTERS):
        sizes["texts"] += len(batch)
        sizes["bytes"] += sum(len(text.encode()) for text in batch)
        sizes["tokens"] += int(tokenizer.encode_flat(batch, special_tokens=False)[0].size)
    return sizes
