"""Texts made of pieces of others: where their tokens come from, how they are labelled, and that they repeat."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from llm.errors import CorpusError
from llm.families.classification import Classification
from llm.made_texts import with_made_texts
from llm.recipe import smaller
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, train_tokenizer
from llm.tokens import TokenTable
from llm.training.config import TrainingConfig
from llm.training.trainer import Trainer

ROWS = [
    {"text": text, "label": label}
    for text, label in [("who wrote it", "human"), ("when was it built", "number"), ("who built the bridge", "human")]
    * 8
]


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    config = TokenizerConfig(vocabulary=700, prefix_space=True, word_ends=True)
    return TextTokenizer(train_tokenizer([row["text"] for row in ROWS], config, template="<s> $A </s>"))


@pytest.fixture(scope="module")
def table(tokenizer: TextTokenizer) -> TokenTable:
    family = Classification()
    return family.tokenize(ROWS, tokenizer, family.survey(ROWS, tokenizer))


def made(table: TokenTable, tokenizer: TextTokenizer, *, seed: int = 1, context: int = 32) -> TokenTable:
    return with_made_texts(table, tokenizer, tokens=1000, context=context, seed=seed)


def test_a_quarter_of_the_texts_are_the_real_ones_whose_targets_lean_to_their_labels(
    table: TokenTable, tokenizer: TextTokenizer
) -> None:
    found = made(table, tokenizer)
    rounds = len(found) // (4 * len(table))
    assert len(found) == 4 * rounds * len(table)
    # Made texts have about as many tokens as the real ones, so that all together are about what was asked for.
    assert 800 < found.columns["text"].ids.size < 2000
    for row in range(rounds * len(table)):
        assert found.columns["text"].row(row).tolist() == table.columns["text"].row(row % len(table)).tolist()
    targets = found.numbers["label"]
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-6)
    assert (targets[: len(table)].argmax(axis=1) == table.numbers["label"]).all()
    assert targets[: len(table)].max(axis=1).min() > 0.5


def test_made_texts_keep_their_frame_and_have_tokens_that_no_text_has(
    table: TokenTable, tokenizer: TextTokenizer
) -> None:
    found = made(table, tokenizer)
    real = {tuple(table.columns["text"].row(row).tolist()) for row in range(len(table))}
    known = set(table.columns["text"].ids.tolist())
    texts = [found.columns["text"].row(row).tolist() for row in range(len(found) // 4, len(found))]
    assert all(text[0] == 1 and text[-1] == 2 and min(text[1:-1], default=4) > 3 for text in texts)
    assert sum(known.issuperset(text) for text in texts) > len(texts) / 2
    assert not all(known.issuperset(text) for text in texts)
    assert len({tuple(text) for text in texts} - real) > 50


def test_the_same_seed_makes_the_same_texts_and_another_does_not(table: TokenTable, tokenizer: TextTokenizer) -> None:
    first, second, other = (made(table, tokenizer, seed=seed) for seed in (1, 1, 2))
    assert first.columns["text"].ids.tolist() == second.columns["text"].ids.tolist()
    assert first.numbers["label"].tolist() == second.numbers["label"].tolist()
    assert first.columns["text"].ids.tolist() != other.columns["text"].ids.tolist()


def test_no_made_text_is_longer_than_the_context(table: TokenTable, tokenizer: TextTokenizer) -> None:
    found = made(table, tokenizer, context=4)
    assert found.columns["text"].lengths[len(found) // 4 :].max() == 4


def test_one_label_alone_is_refused_with_its_name(table: TokenTable, tokenizer: TextTokenizer) -> None:
    alone = TokenTable(
        columns=table.columns,
        numbers={"label": np.zeros(len(table), dtype=np.int64)},
        constants=table.constants,
        facts=table.facts,
    )
    with pytest.raises(CorpusError, match="'human'"):
        made(alone, tokenizer)


def test_a_batch_of_made_texts_carries_a_probability_for_each_label(
    table: TokenTable, tokenizer: TextTokenizer
) -> None:
    config = TrainingConfig(
        steps=4, batch_tokens=64, context=16, learning_rate=1e-3, warmup=0, validate_every=2, made_texts=True
    )
    family = Classification()
    found = family.extend(table, config, tokenizer)
    batch = family.collate(found, np.arange(len(found) - 3, len(found)), config)
    assert batch["labels"].shape == (3, 2)
    assert family.extend(table, config.model_copy(update={"made_texts": False}), tokenizer) is table


class KilledError(Exception):
    """Stands for a kill: training stops wherever it is."""


def trained(table: TokenTable, tokenizer: TextTokenizer, folder: Path, *, kill_at: int = 99) -> dict[str, torch.Tensor]:
    recipe = smaller(Classification().presets()["quick"]).vary(
        training={"made_texts": True, "neighbours": True, "context": 16, "threads": 1, "precision": "float32"}
    )
    family = Classification()
    torch.manual_seed(recipe.training.seed)
    model = family.build_model(recipe, table, tokenizer)

    def report(step: int, values: Mapping[str, float]) -> None:
        if step >= kill_at and "training_loss" in values:
            raise KilledError

    trainer = Trainer(
        family=family,
        model=model,
        train=family.extend(table, recipe.training, tokenizer),
        validation=table,
        config=recipe.training,
        folder=folder,
        report=report,
    )
    trainer.run()
    return model.state_dict()


def test_a_killed_training_on_made_texts_ends_in_the_weights_of_an_unbroken_one(
    table: TokenTable, tokenizer: TextTokenizer, tmp_path: Path
) -> None:
    whole = trained(table, tokenizer, tmp_path / "whole")
    with pytest.raises(KilledError):
        trained(table, tokenizer, tmp_path / "killed", kill_at=7)
    resumed = trained(table, tokenizer, tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(("preset", "model"), [("quick", {"heads": 1}), ("pretrained", {})])
def test_neighbours_are_refused_where_there_are_no_heads_to_start(preset: str, model: dict[str, int]) -> None:
    recipe = Classification().presets()[preset]
    with pytest.raises(ValueError, match="neighbours needs"):
        recipe.vary(training={"neighbours": True}, model=model)
