"""What the contestants of train_translation share: sizes, texts in tokens, and our training's options."""

from __future__ import annotations

import argparse
import gzip
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from llm.tokens import TokenTable
    from llm.training.config import TrainingConfig

STEPS = 12  # of a round


@dataclass(frozen=True)
class Size:
    """The model and its batches; `layers` on each side."""

    layers: int = 4
    width: int = 256
    heads: int = 8
    inner: int = 1024
    vocabulary: int = 8000
    batch_tokens: int = 4096
    context: int = 128
    dropout: float = 0.1
    label_smoothing: float = 0.1


SIZE = Size()


@dataclass(frozen=True)
class Data:
    """The training texts in tokens, and the actual number of entries in the vocabulary."""

    table: TokenTable
    vocabulary: int

    def lengths(self, column: str) -> np.ndarray:
        """(N,): real tokens of each text, those past the context left out."""
        return np.minimum(self.table.columns[column].lengths, SIZE.context)

    def tokens(self, rows: np.ndarray) -> int:
        """Real tokens of a batch, source and target."""
        return int(sum(self.lengths(column)[rows].sum() for column in ("source", "target")))


def read(folder: Path) -> Data:
    """Multi30k's train split, cut by a byte-level BPE that was learned on both of its sides."""
    from llm.families.translation import Translation
    from llm.tokenizer import TextTokenizer
    from llm.tokenizer_training import TokenizerConfig, train_tokenizer

    sides = []
    for language in ("en", "de"):
        with gzip.open(folder / f"train.{language}.gz", "rt", encoding="utf-8") as file:
            sides.append(file.read().splitlines())
    rows = [{"source": source, "target": target} for source, target in zip(*sides, strict=True)]
    config = TokenizerConfig(vocabulary=SIZE.vocabulary)
    tokenizer = TextTokenizer(train_tokenizer(itertools.chain(*sides), config, template=Translation.template))
    return Data(Translation().tokenize(rows, tokenizer, Translation().survey(rows, tokenizer)), tokenizer.size)


def training(options: argparse.Namespace, *, precision: str = "float32") -> TrainingConfig:
    """Ours; its batches serve others too."""
    from llm.training.config import TrainingConfig

    return TrainingConfig(
        steps=STEPS,
        batch_tokens=SIZE.batch_tokens,
        context=SIZE.context,
        learning_rate=1e-3,
        warmup=1,
        label_smoothing=SIZE.label_smoothing,
        validation_batches=1,
        validate_every=STEPS,
        threads=options.threads,
        precision=precision,
        device="cpu",
    )
