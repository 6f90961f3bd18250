"""A tiny encoder-decoder that learns to copy, for tests of the training loop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import torch

from llm.families.translation import Translation
from llm.model.config import EncoderDecoderConfig
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.predictor import pick_device
from llm.tokenizer import EOS_ID
from llm.tokens import TokenColumn, TokenTable
from llm.training.config import TrainingConfig
from llm.training.trainer import Report, Trainer

VOCABULARY = 24


def copy_table(rows: int, *, seed: int) -> TokenTable:
    """Sources of 3 to 7 random tokens; the target is the source."""
    random = np.random.default_rng(seed)
    texts = [[*random.integers(4, VOCABULARY, size=random.integers(3, 8)).tolist(), EOS_ID] for _ in range(rows)]
    return TokenTable(columns={"source": TokenColumn.of(texts), "target": TokenColumn.of(texts)})


def options(**changes: object) -> TrainingConfig:
    values = {
        "steps": 24,
        "batch_tokens": 256,
        "context": 16,
        "learning_rate": 3e-3,
        "warmup": 4,
        "validate_every": 6,
        "threads": 1,
        "precision": "float32",
        "device": "cpu",
    }
    return TrainingConfig.model_validate(values | changes)


class KilledError(Exception):
    """Stands for a kill: training stops wherever it is."""


def train(
    folder: Path, config: TrainingConfig, *, kill_at: int | None = None, until: datetime | None = None
) -> tuple[EncoderDecoderModel, Trainer]:
    """The trained model; `kill_at`: the training stops dead when it tells of that step."""

    def kill(step: int, values: Mapping[str, float]) -> None:
        if kill_at is not None and step >= kill_at and "training_loss" in values:
            raise KilledError

    return train_and_tell(folder, config, kill, until=until)


def train_and_tell(
    folder: Path, config: TrainingConfig, report: Report, *, until: datetime | None = None
) -> tuple[EncoderDecoderModel, Trainer]:
    torch.manual_seed(config.seed)
    sizes = EncoderDecoderConfig(
        width=32, heads=2, encoder_layers=1, decoder_layers=1, feed_forward=64, max_positions=32, dropout=0.1
    )
    model = EncoderDecoderModel(sizes, VOCABULARY).to(pick_device(config.device))

    trainer = Trainer(
        family=Translation(),
        model=model,
        train=copy_table(300, seed=1),
        validation=copy_table(40, seed=2),
        config=config,
        folder=folder,
        report=report,
        until=until,
    )
    trainer.run()
    return model, trainer


def same_bits(left: EncoderDecoderModel, right: EncoderDecoderModel) -> bool:
    pairs = zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)
