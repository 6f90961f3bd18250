"""Generation: a decoder continues a text, token by token.

Shapes: B batch, T length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from llm.baselines.base import BaselineData, BaselineResult
from llm.batching import window_starts
from llm.config import Config
from llm.corpora.plays import PlaysConfig
from llm.decoding.config import SearchConfig
from llm.evidence.base import Evidence, drawn
from llm.families.base import Answer, Batch, Evaluation, LossSum, Room, Row, lazy_baseline
from llm.model.config import DecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.loss import projected_cross_entropy
from llm.predictor import Predictor
from llm.progress import track
from llm.recipe import EvaluationConfig, Recipe, smaller
from llm.slicing import of_every_kind
from llm.statistics.measures import BitsPerByte, Measure
from llm.text_stream import decoded
from llm.tokenizer import BOS_ID, EOS_ID, TextTokenizer
from llm.tokenizer_training import TokenizerConfig
from llm.tokens import Survey, TokenColumn, TokenTable
from llm.training.config import TrainingConfig

_ROWS = 32  # windows that are scored together
_PROMPT_LINES = 2  # how much of a text is given as the prompt of a sample


class GenerationParams(SearchConfig):
    """Inference parameters of generation."""

    max_new_tokens: int = Field(96, ge=1, le=1 << 17, description="longest continuation, in tokens")
    temperature: float = Field(0.8, ge=0.0, le=100.0, description="0 takes the likeliest token; above 0 samples")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="sample from the likeliest tokens of this probability")


class Generation:
    """See llm.families.base.Family."""

    name: ClassVar[str] = "generation"
    fields: ClassVar[tuple[str, ...]] = ("text",)
    text_fields: ClassVar[tuple[str, ...]] = ("text",)
    input_field: ClassVar[str] = "text"
    target_field: ClassVar[str] = "text"
    template: ClassVar[str] = "<s> $A"
    metric: ClassVar[Measure] = BitsPerByte()
    params: ClassVar[type[GenerationParams]] = GenerationParams
    baselines: ClassVar[Mapping[str, Callable[[BaselineData], BaselineResult]]] = {
        "trigram": lazy_baseline("llm.baselines.trigram"),
        "kneser_ney": lazy_baseline("llm.baselines.kneser_ney"),
    }

    def presets(self) -> Mapping[str, Recipe]:
        """See Family."""
        return _presets()

    def survey(self, rows: Iterable[Row], tokenizer: TextTokenizer) -> Survey:
        """Nothing: each row speaks for itself."""
        del rows, tokenizer
        return Survey()

    def tokenize(self, rows: Sequence[Row], tokenizer: TextTokenizer, survey: Survey) -> TokenTable:
        """Column "text": <s>, the text, </s>."""
        texts = TokenColumn.encoded([row["text"] for row in rows], tokenizer)
        return TokenTable.of({"text": texts.closed(EOS_ID)}, survey)

    def build_model(self, recipe: Recipe, table: TokenTable, tokenizer: TextTokenizer) -> nn.Module:
        """See Family."""
        del table
        assert isinstance(recipe.model, DecoderConfig)
        return DecoderModel(recipe.model, tokenizer.size)

    def extend(self, table: TokenTable, config: TrainingConfig, tokenizer: TextTokenizer) -> TokenTable:
        """The table."""
        del config, tokenizer
        return table

    def plan(self, table: TokenTable, config: TrainingConfig, *, seed: int | None) -> list[NDArray[np.int64]]:
        """Windows of `context` tokens over all texts in one stream: no padding at all. Rows are first positions."""
        starts = window_starts(table.columns["text"].ids.size, context=config.context, seed=seed)
        rows = max(1, config.batch_tokens // config.context)
        return [starts[first : first + rows] for first in range(0, starts.size, rows)]

    def collate(self, table: TokenTable, rows: NDArray[np.int64], config: TrainingConfig) -> Batch:
        """ids (B, T) and labels (B, T), one position further on."""
        windows = table.columns["text"].ids[rows[:, None] + np.arange(config.context + 1)].astype(np.int64)
        return {
            "ids": torch.from_numpy(np.ascontiguousarray(windows[:, :-1])),
            "labels": torch.from_numpy(np.ascontiguousarray(windows[:, 1:])),
        }

    def loss(self, model: nn.Module, batch: Batch, *, label_smoothing: float) -> LossSum:
        """Cross-entropy over all positions."""
        assert isinstance(model, DecoderModel)
        states, labels = model.states(batch["ids"]).flatten(0, 1), batch["labels"].flatten()
        total = projected_cross_entropy(states, model.embedding.weight, labels, label_smoothing=label_smoothing)
        return LossSum(total, int(labels.numel()))

    def prepare(self, texts: Sequence[str]) -> Sequence[str]:
        """As they are."""
        return texts

    def room(self, params: Config, *, max_positions: int) -> Room:
        """What the continuation leaves of the decoder's positions: they share them."""
        assert isinstance(params, SearchConfig)
        left = max(0, max_positions - params.max_new_tokens)
        return Room(
            left,
            f"the model takes {left} beside max_new_tokens = {params.max_new_tokens} ({max_positions} in all)",
            "shorten it, or lower max_new_tokens",
        )

    def sample_inputs(self, rows: Sequence[Row], count: int) -> list[str]:
        """The first lines of the first texts."""
        return ["".join(row["text"].splitlines(keepends=True)[:_PROMPT_LINES]) for row in rows[:count]]

    def answer(self, predictor: Predictor, texts: Sequence[str], params: SearchConfig) -> list[Answer]:
        """Continuations, without the prompts; the same call gives the same."""
        ids = predictor.tokenizer.encode_batch(texts)
        answers: list[Answer] = list(predictor.tokenizer.decode_batch(predictor.engine.write(ids, params)))
        return answers

    def stream(self, predictor: Predictor, text: str, params: SearchConfig) -> Iterator[str]:
        """The continuation."""
        return decoded(predictor.engine.stream(predictor.tokenizer.encode(text), params), predictor.tokenizer)

    def answer_columns(self, params: Config) -> tuple[str, ...]:
        """The continuation, without what it continues."""
        del params
        return ("continuation",)

    def evaluate(self, predictor: Predictor, rows: Sequence[Row]) -> Evaluation:
        """Bits per byte and perplexity a token; <s> is given, never predicted."""
        from llm.metrics import language_model

        table = self.tokenize(rows, predictor.tokenizer, Survey())
        # Not max_positions: a model that was trained on shorter windows has never seen the later positions.
        window = min(predictor.max_positions, int(predictor.description["recipe"]["training"]["context"]))
        column = table.columns["text"]
        each = _score(predictor, column.ids, window=window)
        nats = np.add.reduceat(each, column.offsets[:-1]) if len(rows) else np.empty(0)
        sizes = np.array([len(row["text"].encode()) for row in rows], dtype=np.float64)
        tokens = (column.lengths - 1).astype(np.float64)  # <s> is given
        metrics = {
            "bits_per_byte": language_model.bits_per_byte(float(nats.sum()), int(sizes.sum())),
            "perplexity": language_model.perplexity(float(nats.sum()), int(tokens.sum())),
        }
        sums = language_model.row_sums(nats, sizes, tokens)
        columns = sums[self.metric.name].columns
        return Evaluation(metrics=metrics, details={}, answers=[], columns=columns, sums=sums)

    def evidence(
        self, predictor: Predictor, rows: Sequence[Row], evaluation: Evaluation, training: Iterable[Row]
    ) -> Evidence:
        """Continuations, what they repeat of the training texts and of themselves, worst and best documents."""
        from llm.evidence.generation import generation_evidence

        chosen = [rows[row] for row in drawn(len(rows))]
        prompts = self.sample_inputs(chosen, len(chosen))
        return generation_evidence(
            [row["text"] for row in rows],
            self.metric.value(evaluation.columns),
            prompts=prompts,
            documents=[row["text"] for row in chosen],
            continuations=[str(text) for text in self.answer(predictor, prompts, self.params())],
            training=(row["text"] for row in training),
        )

    def read(self, predictor: Predictor, row: Row, *, longest: int) -> list[list[int]]:
        """The text."""
        ids = predictor.tokenizer.encode(row["text"])[:longest]
        predictor.model(torch.tensor([ids], device=predictor.device))
        return [ids]

    def slices(self, rows: Sequence[Row]) -> Mapping[str, NDArray[np.bool_]]:
        """What every family looks at."""
        return of_every_kind(rows, [row["text"] for row in rows])


@torch.inference_mode()
def _score(predictor: Predictor, ids: NDArray[np.int32], *, window: int) -> NDArray[np.float64]:
    """(T,) tokens of a stream -> (T,) negative log-probability of each in nats; 0 for <s>, which is given.

    `window` is the longest context, in tokens.

    Windows overlap by half, and only the second half of each counts (the first window counts whole): a token is judged
    with at least half a window of context.
    """
    window = min(window, max(2, ids.size - 1))
    stride = max(1, window // 2)
    starts = list(range(0, max(1, ids.size - 1 - window + stride), stride))
    stream = torch.from_numpy(ids.astype(np.int64))
    nats = np.zeros(ids.size)
    for first in track(range(0, len(starts), _ROWS), label="scoring"):
        # The last window is moved back so that it is whole.
        begins = [min(start, ids.size - 1 - window) for start in starts[first : first + _ROWS]]
        inputs = torch.stack([stream[begin : begin + window] for begin in begins])
        labels = torch.stack([stream[begin + 1 : begin + 1 + window] for begin in begins])
        with predictor.products():
            scores = predictor.model(inputs.to(predictor.device)).float().flatten(0, 1)
        flat = F.cross_entropy(scores, labels.flatten().to(predictor.device), reduction="none")
        losses = flat.view(labels.shape).cpu().numpy()
        for start, begin, each in zip(starts[first : first + _ROWS], begins, losses, strict=True):
            # What was counted before is not counted again.
            counted = max(0, start + window - stride - begin) if start > 0 else 0
            nats[begin + 1 + counted : begin + 1 + window] = each[counted:]
    nats[ids == BOS_ID] = 0.0
    return nats


def _presets() -> dict[str, Recipe]:
    quick = Recipe(
        family="generation",
        corpus=PlaysConfig(),
        tokenizer=TokenizerConfig(vocabulary=2000),
        model=DecoderConfig(width=192, heads=4, kv_heads=4, layers=4, feed_forward=512, max_positions=256, dropout=0.1),
        training=TrainingConfig(
            steps=3000,
            batch_tokens=1024,
            context=256,
            learning_rate=5e-3,
            optimizer="muon",
            warmup=200,
            adam_beta2=0.99,
            validate_every=375,
        ),
        evaluation=EvaluationConfig(must_beat=("trigram",)),
    )
    return {
        "smoke": smaller(quick),
        "quick": quick,
        "standard": quick.vary(
            model={"width": 256, "layers": 6, "feed_forward": 688, "dropout": 0.2},
            training={
                "steps": 5000,
                "batch_tokens": 2048,
                # Muon was measured for `quick` only.
                "optimizer": "adamw",
                "learning_rate": 1.5e-3,
                "warmup": 400,
                "validate_every": 250,
            },
            evaluation={"must_beat": ("trigram", "kneser_ney")},
        ),
    }
