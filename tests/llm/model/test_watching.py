"""A model that is watched gives what it gives otherwise, and nothing of the watching stays."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from twin_models import VOCABULARY, build

from llm.model.config import DecoderConfig, EncoderDecoderConfig
from llm.model.watching import Place, watched

SIZES = {"width": 32, "heads": 4, "feed_forward": 48, "max_positions": 32}
IDS = torch.randint(4, VOCABULARY, (2, 9), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def model() -> nn.Module:
    return build(EncoderDecoderConfig(**SIZES, encoder_layers=1, decoder_layers=2))


def hooks_of(model: nn.Module) -> int:
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_pre_hooks_with_kwargs) for module in model.modules()
    )


def test_each_call_adds_its_layers_in_the_order_in_which_they_run(model: nn.Module) -> None:
    with watched(model) as seen:
        model(IDS, IDS)
        once = len(seen)
        model(IDS, IDS)
    assert [one.place for one in seen[:once]] == [
        Place(0, "encoder", 1, 1, cross=False),
        Place(1, "decoder", 1, 2, cross=False),
        Place(1, "decoder", 1, 2, cross=True),
        Place(1, "decoder", 2, 2, cross=False),
        Place(1, "decoder", 2, 2, cross=True),
    ]
    assert [one.place for one in seen[once:]] == [one.place for one in seen[:once]]


def test_the_only_stack_of_a_model_has_no_name() -> None:
    alone = build(DecoderConfig(**SIZES, kv_heads=4, layers=1))
    with watched(alone) as seen:
        alone(IDS)
    assert [one.place for one in seen] == [Place(0, "", 1, 1, cross=False)]


@torch.inference_mode()
def test_scores_are_the_same_to_the_bit_while_it_is_watched(model: nn.Module) -> None:
    expected = model(IDS, IDS)
    with watched(model):
        assert torch.equal(model(IDS, IDS), expected)
    assert torch.equal(model(IDS, IDS), expected)


def test_gradients_are_the_same_and_what_was_seen_holds_none(model: nn.Module) -> None:
    def gradient() -> torch.Tensor:
        model.zero_grad()
        model(IDS, IDS).logsumexp(dim=-1).sum().backward()
        return model.embedding.weight.grad.clone()

    expected = gradient()
    with watched(model) as seen:
        assert torch.equal(gradient(), expected)
    assert not any(one.probabilities.requires_grad for one in seen)


def test_nothing_is_seen_afterwards_and_no_hook_stays_also_after_an_error(model: nn.Module) -> None:
    with watched(model) as seen:
        assert hooks_of(model) > 0
    model(IDS, IDS)
    assert seen == []
    assert hooks_of(model) == 0
    with pytest.raises(IndexError), watched(model):
        model(IDS + VOCABULARY, IDS)
    assert hooks_of(model) == 0
