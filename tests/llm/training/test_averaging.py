"""The running mean of the weights by hand."""

from __future__ import annotations

import torch
from torch import nn

from llm.training.averaging import WeightAverage


def model_of(value: float) -> nn.Linear:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def test_the_mean_follows_the_weights_with_its_decay() -> None:
    model = model_of(0.0)
    average = WeightAverage(model, decay=0.9)
    nn.init.constant_(model.weight, 1.0)
    average.update(step=1000)  # long past the warm-up
    torch.testing.assert_close(average.means["weight"], torch.tensor([[0.1]]))
    average.update(step=1001)
    torch.testing.assert_close(average.means["weight"], torch.tensor([[0.19]]))


def test_early_weights_are_forgotten_faster() -> None:
    model = model_of(0.0)
    average = WeightAverage(model, decay=0.9)
    nn.init.constant_(model.weight, 1.0)
    average.update(step=1)  # decay 1 / 11
    torch.testing.assert_close(average.means["weight"], torch.tensor([[10 / 11]]))


def test_the_model_has_the_means_inside_and_its_own_weights_after() -> None:
    model = model_of(0.0)
    average = WeightAverage(model, decay=0.5)
    nn.init.constant_(model.weight, 1.0)
    with average.in_model():
        assert model.weight.item() == 0.0
    assert model.weight.item() == 1.0
    assert average.means["weight"].item() == 0.0


def test_a_decay_of_zero_keeps_no_mean_and_changes_nothing() -> None:
    model = model_of(3.0)
    average = WeightAverage(model, decay=0.0)
    average.update(step=1)
    assert average.means == {}
    with average.in_model():
        assert model.weight.item() == 3.0
