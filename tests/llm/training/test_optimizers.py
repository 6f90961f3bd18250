"""Row-wise and dense optimizers: the same mathematics, and a resume that nobody notices."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from llm.families.classification import Classification
from llm.model.config import EncoderConfig
from llm.model.encoder import EncoderClassifier
from llm.tokens import TokenColumn, TokenTable
from llm.training.config import TrainingConfig
from llm.training.optimizers import gradients, make_optimizers
from llm.training.trainer import Trainer

OPTIONS = TrainingConfig(
    steps=24,
    batch_tokens=64,
    context=16,
    learning_rate=1e-2,
    warmup=2,
    validate_every=5,
    weight_decay=0.1,
    threads=1,
    precision="float32",
)


class Small(nn.Module):
    """An embedding and a matrix."""

    def __init__(self, *, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(6, 4, sparse=sparse)
        self.matrix = nn.Linear(4, 1)

    def step(self, ids: list[int], optimizers: list[torch.optim.Optimizer]) -> list[torch.Tensor]:
        """One step over two batches: `ids`, and `ids` backwards."""
        for optimizer in optimizers:
            optimizer.zero_grad()
        for batch in (ids, ids[::-1]):
            self.matrix(self.embedding(torch.tensor(batch))).pow(3).sum().backward()
        found = [values.clone() for values in gradients(self.parameters())]
        for optimizer in optimizers:
            optimizer.step()
        return found


def test_rows_that_are_read_at_every_step_move_as_under_adam() -> None:
    sparse, dense = Small(sparse=True), Small(sparse=False)
    config = OPTIONS.model_copy(update={"weight_decay": 0.0})
    ours, theirs = make_optimizers(sparse, config), make_optimizers(dense, config)
    assert [type(optimizer).__name__ for optimizer in ours] == ["AdamW", "SparseAdam"]
    assert len(theirs) == 1
    for _ in range(5):
        sparse.step([0, 1, 2, 3, 4, 5, 5], ours)
        dense.step([0, 1, 2, 3, 4, 5, 5], theirs)
    torch.testing.assert_close(sparse.embedding.weight, dense.embedding.weight)
    torch.testing.assert_close(sparse.matrix.weight, dense.matrix.weight)


def test_rows_that_are_not_read_stay_where_they_are() -> None:
    model = Small(sparse=True)
    optimizers = make_optimizers(model, OPTIONS)
    before = model.embedding.weight.detach().clone()
    for _ in range(3):
        model.step([1, 2], optimizers)
    moved = (model.embedding.weight.detach() != before).any(dim=1)
    assert moved.tolist() == [False, True, True, False, False, False]


def test_the_gradient_of_a_token_that_stands_twice_counts_once_in_the_norm() -> None:
    sparse, dense = Small(sparse=True), Small(sparse=False)
    norms = [
        torch.nn.utils.get_total_norm(model.step([1, 1, 2], make_optimizers(model, OPTIONS))).item()
        for model in (sparse, dense)
    ]
    assert norms[0] == pytest.approx(norms[1])


def test_gradients_can_be_scaled_in_place() -> None:
    model = Small(sparse=True)
    model.step([1, 1], make_optimizers(model, OPTIONS))
    torch._foreach_mul_(list(gradients(model.parameters())), 0.0)
    assert model.embedding.weight.grad is not None
    assert not model.embedding.weight.grad.to_dense().any()


class KilledError(Exception):
    """Stands for a kill: training stops wherever it is."""


def train(folder: Path, *, kill_at: int | None = None) -> tuple[EncoderClassifier, Trainer]:
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, size=160)
    # Each label has tokens of its own, so that the validation loss falls to the end.
    texts = [[1, *(random.integers(2, 12, size=random.integers(2, 9)) * 3 + label).tolist(), 2] for label in labels]
    table = TokenTable(columns={"text": TokenColumn.of(texts)}, numbers={"label": labels})
    torch.manual_seed(5)
    sizes = EncoderConfig(width=16, heads=2, layers=1, feed_forward=32, max_positions=16, dropout=0.1)
    model = EncoderClassifier(sizes, 40, labels=("a", "b", "c"))
    model.embedding.sparse = True

    def report(step: int, values: Mapping[str, float]) -> None:
        if kill_at is not None and step >= kill_at and "training_loss" in values:
            raise KilledError

    split = {"train": table.slice(0, 120), "validation": table.slice(120, 160)}
    trainer = Trainer(family=Classification(), model=model, config=OPTIONS, folder=folder, report=report, **split)
    trainer.run()
    return model, trainer


@pytest.mark.parametrize("kill_at", [6, 17])
def test_a_killed_training_with_row_wise_moments_ends_in_the_weights_of_an_unbroken_one(
    tmp_path: Path, kill_at: int
) -> None:
    whole, trainer = train(tmp_path / "whole")
    assert trainer.progress.best_step > kill_at, "the weights that are compared must come from after the kill"
    with pytest.raises(KilledError):
        train(tmp_path / "killed", kill_at=kill_at)
    resumed, _ = train(tmp_path / "killed")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
