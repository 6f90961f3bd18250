"""model.safetensors of a folder that somebody else may have made, and whether its config.json belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor, nn

from llm.errors import ModelFolderError
from llm.model.config import CONFIG_FILE, WEIGHTS_FILE, ModelSizes
from llm.untrusted import file_of

# What safetensors raises for a damaged file, and the system for one that is larger than what memory is left.
_UNREADABLE = (OSError, ValueError, KeyError, RuntimeError, MemoryError, safetensors.SafetensorError)
# What building a model raises where an option is missing, or is another kind of value than it should be.
_MISFITS = (ValueError, TypeError, AttributeError, IndexError, ArithmeticError, RuntimeError, MemoryError)
_MOST_ENTRIES = 1 << 24

M = TypeVar("M", bound=nn.Module)


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of `folder/model.safetensors` by name.

    Raises ModelFolderError when it cannot be read.
    """
    path = file_of(folder, WEIGHTS_FILE)
    try:
        weights: dict[str, Tensor] = safetensors.torch.load_file(str(path))
    except _UNREADABLE as error:
        raise ModelFolderError(
            f"{path}: cannot be read ({error})", remedy="restore the file, or pull the model again"
        ) from None
    return weights


def build_to_fit(
    folder: Path,
    options: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    *,
    sizes: Callable[[], ModelSizes],
    build: Callable[[], M],
) -> M:
    """What `build` makes of `options`, those of `folder`, after a look at how large it would be.

    Raises ModelFolderError when an option is missing, is none, or asks for more weights than there are.
    """
    path = folder / CONFIG_FILE
    stored = sum(value.numel() for value in weights.values())
    entries = options.get("vocab_size")
    if not isinstance(entries, int) or isinstance(entries, bool) or not 1 <= entries <= _MOST_ENTRIES:
        raise ModelFolderError(
            f"{path}: vocab_size = {entries!r:.40}, and it must be a number from 1 to {_MOST_ENTRIES}",
            remedy="use a complete config.json",
        )
    try:
        wanted = sizes().least_weights(entries)
        if wanted <= stored:
            return build()
    except KeyError as error:
        raise ModelFolderError(f"{path}: there is no {error.args[0]!r}", remedy="use a complete config.json") from None
    except _MISFITS as error:
        reason = " ".join(str(error).split())
        raise ModelFolderError(
            f"{path}: describes no model that we can build ({reason:.200})", remedy="use a complete config.json"
        ) from None
    raise ModelFolderError(
        f"{path}: asks for {wanted:,} weights or more, but {WEIGHTS_FILE} holds {stored:,}",
        remedy="config.json and model.safetensors belong to different models: use a matching pair",
    )
