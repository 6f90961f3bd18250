"""Weights copied to and from `transformers` give the same scores, in single and in double precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from twin_models import VOCABULARY, build, empty_twin, twin_of

from llm.errors import ModelFolderError
from llm.families import FAMILIES, load_family
from llm.model.config import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.encoder import EncoderClassifier
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.pretrained import PretrainedEncoder
from llm.model.twins import from_twin, to_twin
from llm.recipe import Recipe

PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(4, VOCABULARY, (3, 11), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def right_mask() -> torch.Tensor:
    mask = torch.ones(3, 11, dtype=torch.bool)
    mask[0, 7:] = False
    mask[2, 3:] = False
    return mask


# A pretrained model's sizes are its checkpoint's: see test_transfer.
PRESETS = [
    pytest.param(recipe, id=f"{family}-{name}")
    for family in FAMILIES
    for name, recipe in load_family(family).presets().items()
    if not isinstance(recipe.model, PretrainedEncoder)
]


def scores(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if isinstance(model, EncoderDecoderModel):
        return model(ids, ids.flip(1), source_mask=mask)
    if isinstance(model, EncoderClassifier):
        return model(ids, mask=mask)
    assert mask is None
    return model(ids)


def twin_scores(twin: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    options = {} if mask is None else {"attention_mask": mask.long()}
    if twin.config.is_encoder_decoder:
        options["decoder_input_ids"] = ids.flip(1)
    logits: torch.Tensor = twin(input_ids=ids, **options).logits
    return logits


@PRECISIONS
@pytest.mark.parametrize("recipe", PRESETS)
@torch.inference_mode()
def test_every_preset_scores_like_its_twin(
    recipe: Recipe, ids: torch.Tensor, right_mask: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    model = build(recipe.model).to(dtype)
    twin = twin_of(model).to(dtype)
    torch.testing.assert_close(scores(model, ids, None), twin_scores(twin, ids, None), atol=tolerance, rtol=0)
    if not isinstance(model, DecoderModel):  # a decoder pads on the left; see below
        found, expected = scores(model, ids, right_mask), twin_scores(twin, ids, right_mask)
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)


@PRECISIONS
@torch.inference_mode()
def test_decoder_with_left_padding_and_grouped_heads_scores_like_its_twin(
    ids: torch.Tensor, right_mask: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    config = DecoderConfig(width=32, heads=4, kv_heads=2, layers=2, feed_forward=48, max_positions=32)
    model = build(config).to(dtype)
    mask = right_mask.flip(1)
    positions = (mask.long().cumsum(1) - 1).clamp(min=0)
    expected = twin_of(model).to(dtype)(ids, attention_mask=mask.long(), position_ids=positions).logits
    torch.testing.assert_close(model(ids, mask=mask)[mask], expected[mask], atol=tolerance, rtol=0)


@pytest.mark.parametrize("recipe", PRESETS)
def test_weights_come_back_from_the_twin_unchanged(recipe: Recipe) -> None:
    model = build(recipe.model)
    torch.manual_seed(99)
    twin = empty_twin(model)
    from_twin(model, twin.state_dict())
    back = to_twin(model)
    expected = twin.state_dict()
    assert back
    for name, value in back.items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=0, msg=name)


@pytest.mark.parametrize("training", [True, False])
def test_short_attention_is_the_same_with_and_without_the_fused_kernel(training: bool, ids: torch.Tensor) -> None:
    # Training uses plain products, inference the fused kernel: the scores must not depend on which.
    model = build(DecoderConfig(width=32, heads=4, kv_heads=4, layers=2, feed_forward=48, max_positions=32)).double()
    with torch.set_grad_enabled(training):
        found = model(ids).detach()
    with torch.inference_mode():
        expected = model(ids)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def test_a_missing_weight_is_named() -> None:
    model = build(EncoderConfig(width=32, heads=2, layers=1, feed_forward=48, max_positions=32))
    weights = to_twin(model)
    del weights["bert.pooler.dense.bias"]
    with pytest.raises(ModelFolderError, match=r"bert\.pooler\.dense\.bias"):
        from_twin(model, weights)


def test_a_weight_of_another_shape_is_named_with_both_shapes() -> None:
    model = build(EncoderConfig(width=32, heads=2, layers=1, feed_forward=48, max_positions=32))
    weights = to_twin(model)
    weights["classifier.weight"] = torch.zeros(5, 32)
    with pytest.raises(ModelFolderError, match=r"classifier\.weight.*\(5, 32\).*\(3, 32\)"):
        from_twin(model, weights)


@pytest.mark.parametrize("assembly", ["encoder", "decoder", "encoder_decoder"])
def test_padding_never_leaks_into_real_positions(assembly: str) -> None:
    sizes = {"width": 32, "heads": 2, "feed_forward": 48, "max_positions": 32}
    check: dict[str, Callable[[], None]] = {
        "encoder": lambda: _same_when_padded(build(EncoderConfig(layers=2, **sizes))),
        "encoder_decoder": lambda: _same_when_padded(
            build(EncoderDecoderConfig(encoder_layers=2, decoder_layers=2, **sizes))
        ),
        "decoder": lambda: _same_when_left_padded(build(DecoderConfig(layers=2, kv_heads=2, **sizes))),
    }
    check[assembly]()


@torch.inference_mode()
def _same_when_padded(model: nn.Module) -> None:
    short = torch.tensor([[5, 6, 7, 8]])
    padded = torch.tensor([[5, 6, 7, 8, 0, 0]])
    if isinstance(model, EncoderDecoderModel):
        target = torch.tensor([[0, 9, 10]])
        found, expected = model(padded, target, source_mask=padded != 0), model(short, target)
    else:
        found, expected = model(padded, mask=padded != 0), model(short)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@torch.inference_mode()
def _same_when_left_padded(model: nn.Module) -> None:
    short = torch.tensor([[5, 6, 7, 8]])
    padded = torch.tensor([[0, 0, 5, 6, 7, 8]])
    torch.testing.assert_close(model(padded, mask=padded != 0)[:, 2:], model(short), atol=1e-5, rtol=0)
