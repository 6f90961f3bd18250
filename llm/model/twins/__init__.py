"""The exact twins in `transformers`: which of their weights and options is which of ours.

A model folder holds the twin's names, so any program that reads Hugging Face folders runs our models. Our fused
matrices (queries, keys and values in one) are the twin's matrices stacked along the output dimension.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llm.errors import ModelFolderError
from llm.model.attention import SelfAttention
from llm.model.twins.base import Twin
from llm.model.twins.bert import BertTwin
from llm.model.twins.llama import LlamaTwin
from llm.model.twins.pegasus import PegasusTwin

# By the name that `transformers` gives the architecture in config.json.
TWINS: dict[str, Twin] = {
    "llama": LlamaTwin(),
    "bert": BertTwin(),
    "pegasus": PegasusTwin(),
}


_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def twin_of(model: nn.Module) -> Twin:
    """The twin of one of our assemblies."""
    return next(twin for twin in TWINS.values() if isinstance(model, twin.model_class))


def twin_config(model: nn.Module) -> dict[str, Any]:
    """The config.json of the twin."""
    twin = twin_of(model)
    frame = {"model_type": twin.model_type, "architectures": [twin.architecture], "dtype": "float32"}
    return frame | twin.options(model)


def to_twin(model: nn.Module) -> dict[str, Tensor]:
    """Our weights under the twin's names, each a tensor of its own."""
    twin = twin_of(model)
    ours = model.state_dict()
    weights: dict[str, Tensor] = {}
    for name, stacked in twin.names(model):
        for target, part in zip(stacked, _split(ours[name], model, name, len(stacked)), strict=True):
            weights[target] = part.detach().clone().contiguous()
    return weights | twin.fixed_tensors(model)


def from_twin(model: nn.Module, weights: Mapping[str, Tensor], *, file: Path | None = None) -> None:
    """Fill `model` with a twin's weights, which `file` holds.

    Raises ModelFolderError that names the first weight that is missing, has another shape, or is no finite number.
    """
    where = "" if file is None else f"{file}: "
    ours = model.state_dict()
    filled: dict[str, Tensor] = {}
    for name, stacked in twin_of(model).names(model):
        missing = [target for target in stacked if target not in weights]
        if missing:
            raise ModelFolderError(
                f"{where}the weights lack {missing[0]!r}", remedy="use a complete folder of the same architecture"
            )
        parts = [weights[target] for target in stacked]
        # Before they are put together: what is stored may be of any size.
        shape = (sum(part.shape[0] if part.dim() else 0 for part in parts), *parts[0].shape[1:])
        if shape != tuple(ours[name].shape) or any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            raise ModelFolderError(
                f"{where}{stacked[0]!r} makes a tensor of shape {shape}, but {tuple(ours[name].shape)} is needed",
                remedy="config.json and model.safetensors belong to different models: use a matching pair",
            )
        for target, part in zip(stacked, parts, strict=True):
            _require_numbers(part, f"{where}{target!r}")
        filled[name] = torch.cat([part.to(ours[name].dtype) for part in parts], dim=0)
    model.load_state_dict(filled)


def _require_numbers(value: Tensor, name: str) -> None:
    if value.dtype not in _DTYPES:
        raise ModelFolderError(
            f"{name} is {value.dtype}, not {', '.join(map(str, _DTYPES))}",
            remedy="use weights that are not quantised",
        )
    if not torch.isfinite(value).all():
        raise ModelFolderError(f"{name} holds NaN or infinity", remedy="restore the file, or use another model")


def _split(value: Tensor, model: nn.Module, name: str, parts: int) -> tuple[Tensor, ...]:
    if name.rsplit(".", 1)[0].endswith("query_key_value"):
        attention = model.get_submodule(name.rsplit(".", 2)[0])
        assert isinstance(attention, SelfAttention)
        sizes = attention.sizes
        widths = [sizes.heads * sizes.head_width] + 2 * [sizes.kv_heads * sizes.head_width]
        return torch.split(value, widths, dim=0)
    return tuple(value.chunk(parts, dim=0))
