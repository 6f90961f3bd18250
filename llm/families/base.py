"""What a family of language work must supply. One file and one line in `FAMILIES` make a family; nothing else asks.

Shapes: B batch, T target length, S source length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llm.baselines.base import BaselineData, BaselineResult
    from llm.config import Config
    from llm.evidence.base import Evidence
    from llm.predictor import Predictor
    from llm.recipe import Recipe
    from llm.statistics.intervals import RowSums
    from llm.statistics.measures import Measure
    from llm.tokenizer import TextTokenizer
    from llm.tokens import Survey, TokenTable
    from llm.training.config import TrainingConfig

Batch = Mapping[str, "torch.Tensor"]
Row = Mapping[str, str]
# What a model answers for one input: text, or a record such as {"label": ..., "score": ...}.
Answer = str | dict[str, Any]


@dataclass(frozen=True)
class LossSum:
    """Sum of the losses in a batch (nats, a scalar tensor with gradient) and how many targets it sums over."""

    total: torch.Tensor
    count: int


@dataclass(frozen=True)
class Evaluation:
    """`metrics` by name; `details` that are not numbers (signatures); one `answers` entry a test row, or none.

    `columns`: (N, K), what each of the N test rows adds to the sums of the family's metric, as `metric.columns` names.
    `sums`: every one of `metrics` as a function of sums over the test rows, of which its interval is made.
    """

    metrics: dict[str, float]
    details: dict[str, str]
    answers: list[Answer]
    columns: NDArray[np.float64]
    sums: Mapping[str, RowSums]


@dataclass(frozen=True)
class Room:
    """The longest input in tokens, template included; `limit` ends a sentence on one that is longer."""

    tokens: int
    limit: str
    remedy: str

    @classmethod
    def whole(cls, max_positions: int) -> Room:
        """All positions of the model."""
        return cls(max_positions, f"the model takes {max_positions}", "shorten it, or split it into several")


class Family(Protocol):
    """The contract; `tests/llm/families` runs it over every entry of `FAMILIES`."""

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]  # what a corpus row must hold
    text_fields: ClassVar[tuple[str, ...]]  # those of them that are tokenized; the tokenizer is trained on them
    input_field: ClassVar[str]  # the field that a prediction starts from
    target_field: ClassVar[str]  # the field shown beside a prediction as the right answer; may equal input_field
    template: ClassVar[str]  # the tokenizer's frame around a text, e.g. "<s> $A </s>"
    metric: ClassVar[Measure]  # decides: champion against challenger, model against baseline
    params: ClassVar[type[Config]]  # typed inference parameters with their defaults
    baselines: ClassVar[Mapping[str, Callable[[BaselineData], BaselineResult]]]

    def presets(self) -> Mapping[str, Recipe]:
        """Complete recipes by name: `smoke` (seconds), `quick` (minutes), `standard` (under 45 minutes)."""

    def survey(self, rows: Iterable[Row], tokenizer: TextTokenizer) -> Survey:
        """What all rows of a corpus decide (labels), or the tokenizer alone; they may be read once, and not be held."""

    def tokenize(self, rows: Sequence[Row], tokenizer: TextTokenizer, survey: Survey) -> TokenTable:
        """Some of the corpus's rows to token columns, one table row a row, with what `survey` found."""

    def build_model(self, recipe: Recipe, table: TokenTable, tokenizer: TextTokenizer) -> nn.Module:
        """A fresh model, weights drawn from torch's current random state."""

    def extend(self, table: TokenTable, config: TrainingConfig, tokenizer: TextTokenizer) -> TokenTable:
        """What is trained on in place of the train split's table; most often the table."""

    def plan(self, table: TokenTable, config: TrainingConfig, *, seed: int | None) -> list[NDArray[np.int64]]:
        """Row numbers of each batch of one epoch, each batch within `batch_tokens`; `seed` None keeps a fixed order."""

    def collate(self, table: TokenTable, rows: NDArray[np.int64], config: TrainingConfig) -> Batch:
        """One batch of tensors."""

    def loss(self, model: nn.Module, batch: Batch, *, label_smoothing: float) -> LossSum:
        """Summed loss of a batch."""

    def prepare(self, texts: Sequence[str]) -> Sequence[str]:
        """What the tokenizer reads of inputs; most often the inputs."""

    def room(self, params: Config, *, max_positions: int) -> Room:
        """How long an input of a model with so many positions may be."""

    def sample_inputs(self, rows: Sequence[Row], count: int) -> list[str]:
        """Inputs for the predictions that are shown to people and repeated by the gate."""

    def answer(self, predictor: Predictor, texts: Sequence[str], params: Config) -> list[Answer]:
        """Predictions for `texts`, in their order."""

    def stream(self, predictor: Predictor, text: str, params: Config) -> Iterator[str]:
        """The answer to one text in pieces, as they are written.

        Raises InputError in a family that writes no text.
        """

    def answer_columns(self, params: Config) -> tuple[str, ...]:
        """What a table calls answers: the keys of the records, or the one name of the texts."""

    def evaluate(self, predictor: Predictor, rows: Sequence[Row]) -> Evaluation:
        """Metrics on a split; no model of another family can reach here."""

    def evidence(
        self, predictor: Predictor, rows: Sequence[Row], evaluation: Evaluation, training: Iterable[Row]
    ) -> Evidence:
        """What is shown of a model besides its metrics; `evaluation` is that of `rows`, `training` the train split."""

    def read(self, predictor: Predictor, row: Row, *, longest: int) -> list[list[int]]:
        """Run the model once over a test row, with its right answer where it reads one, each text cut to `longest`.

        Returns the tokens of what each of the model's stacks of blocks read, in their order. It is for those who look
        into the model meanwhile.
        """

    def slices(self, rows: Sequence[Row]) -> Mapping[str, NDArray[np.bool_]]:
        """Parts of a split in which a new model must not be worse, by name: (N,) masks, which may overlap."""


def lazy_baseline(module: str) -> Callable[[BaselineData], BaselineResult]:
    """The function `score` of a baseline's module, imported when it is called.

    A pulled model must run where the baselines' libraries are not installed.
    """

    def score(data: BaselineData) -> BaselineResult:
        result: BaselineResult = import_module(module).score(data)
        return result

    return score
