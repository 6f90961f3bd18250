"""What the twin of an assembly says: the names of its weights, its options, and how it is built from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from llm.errors import ModelFolderError
from llm.model.config import ModelSizes
from llm.tokenizer import BOS_ID, EOS_ID, PAD_ID

# For the models that write text: where they begin, stop and are filled up.
SPECIAL_IDS = {"pad_token_id": PAD_ID, "bos_token_id": BOS_ID, "eos_token_id": EOS_ID}

# Our parameter's name, then the twin's parameters that are stacked into it, in order.
Names = tuple[str, tuple[str, ...]]


class Twin(Protocol):
    """One assembly and its class in `transformers`."""

    @property
    def model_type(self) -> str:
        """`model_type` of its config.json."""

    @property
    def architecture(self) -> str:
        """Name of its class."""

    @property
    def model_class(self) -> type[nn.Module]:
        """Our assembly."""

    def names(self, model: Any) -> Iterator[Names]:
        """Every parameter of ours with the twin's parameters that it stacks."""

    def fixed_tensors(self, model: Any) -> dict[str, Tensor]:
        """Fixed tensors that the twin stores and we compute."""

    def options(self, model: Any) -> dict[str, Any]:
        """The twin's config.json."""

    def sizes(self, options: Mapping[str, Any], *, dropout: float) -> ModelSizes:
        """The sizes in a twin's config.json.

        Raises ModelFolderError that names an option which is not the plain architecture's, KeyError for one that is
        not there, ValueError for one that is out of bounds.
        """

    def build(self, options: Mapping[str, Any], *, dropout: float) -> nn.Module:
        """A model of ours with the sizes of a twin's config.json."""


def both(ours: str, twins: str) -> Iterator[Names]:
    """The weight and the bias of a layer that the twin has as well."""
    for part in ("weight", "bias"):
        yield f"{ours}.{part}", (f"{twins}.{part}",)


def stacked(ours: str, *twins: str) -> Iterator[Names]:
    """The weight and the bias of a layer that is several of the twin's in one."""
    for part in ("weight", "bias"):
        yield f"{ours}.{part}", tuple(f"{twin}.{part}" for twin in twins)


def require(options: Mapping[str, Any], required: Mapping[str, Any]) -> None:
    """Raises ModelFolderError that names the first option which has another value."""
    for key, value in required.items():
        if options[key] != value:
            raise ModelFolderError(
                f"config.json: {key} = {options[key]!r}, but only {value!r} is supported",
                remedy="use a model of the plain architecture",
            )
