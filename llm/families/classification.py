"""Classification: an encoder reads a text and gives each label a probability.

Shapes: B batch, S length.
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
from llm.batching import bucketed, chunks, pad
from llm.cleaning.config import CleaningConfig
from llm.config import Config
from llm.corpora.string_languages import StringLanguagesConfig
from llm.errors import CorpusError, InputError
from llm.evidence.base import Evidence
from llm.families.base import Answer, Batch, Evaluation, LossSum, Room, Row, lazy_baseline
from llm.label_evidence import label_evidence, start_from
from llm.made_texts import with_made_texts
from llm.model.config import EncoderConfig
from llm.model.encoder import EncoderClassifier
from llm.model.neighbours import start_on_neighbours
from llm.model.pretrained import FolderWeights, PretrainedEncoder
from llm.model.transfer import load_encoder
from llm.predictor import Predictor
from llm.progress import track
from llm.recipe import EvaluationConfig, Recipe, smaller
from llm.slicing import by_value, of_every_kind
from llm.statistics.measures import Accuracy, Measure
from llm.subwords import crop_words, undo_merges
from llm.tokenizer import PAD_ID, TextTokenizer
from llm.tokenizer_training import TokenizerConfig
from llm.tokens import Survey, TokenColumn, TokenTable
from llm.training.config import TrainingConfig

_ROWS = 256  # texts that are classified together
_TOKENS = 16384  # padded tokens that are read together
_CROP_WORDS = 3  # most words that a cropped text keeps


class ClassificationParams(Config):
    """Inference parameters of classification."""

    top_k: int = Field(1, ge=1, description="how many labels to list under `top`, the likeliest first; 1 lists none")


class Classification:
    """See llm.families.base.Family."""

    name: ClassVar[str] = "classification"
    fields: ClassVar[tuple[str, ...]] = ("text", "label")
    text_fields: ClassVar[tuple[str, ...]] = ("text",)
    input_field: ClassVar[str] = "text"
    target_field: ClassVar[str] = "label"
    template: ClassVar[str] = "<s> $A </s>"
    metric: ClassVar[Measure] = Accuracy()
    params: ClassVar[type[ClassificationParams]] = ClassificationParams
    baselines: ClassVar[Mapping[str, Callable[[BaselineData], BaselineResult]]] = {
        "naive_bayes": lazy_baseline("llm.baselines.naive_bayes"),
    }

    def presets(self) -> Mapping[str, Recipe]:
        """See Family."""
        return _presets()

    def survey(self, rows: Iterable[Row], tokenizer: TextTokenizer) -> Survey:
        """The sorted label names in the facts.

        Raises CorpusError when there is only one label: there is nothing to learn.
        """
        labels = sorted({row["label"] for row in rows})
        if len(labels) < 2:
            raise CorpusError(
                f"the corpus has only {len(labels)} label(s): {', '.join(labels)}",
                remedy="give rows of at least two labels, and check which column holds the label",
            )
        return Survey(
            constants={"merged_parts": tokenizer.merged_parts(), "word_starts": tokenizer.word_starts()},
            facts={"labels": labels},
        )

    def tokenize(self, rows: Sequence[Row], tokenizer: TextTokenizer, survey: Survey) -> TokenTable:
        """Column "text" and number "label", a place in the list of label names."""
        places = {label: place for place, label in enumerate(survey.facts["labels"])}
        return TokenTable.of(
            {"text": TokenColumn.encoded([row["text"] for row in rows], tokenizer)},
            survey,
            numbers={"label": np.asarray([places[row["label"]] for row in rows], dtype=np.int64)},
        )

    def build_model(self, recipe: Recipe, table: TokenTable, tokenizer: TextTokenizer) -> nn.Module:
        """A pretrained encoder, or one whose embedding starts from what the training texts' tokens say about labels."""
        if isinstance(recipe.model, PretrainedEncoder):
            return self._pretrained_model(recipe.model, table)
        assert isinstance(recipe.model, EncoderConfig)
        model = EncoderClassifier(recipe.model, tokenizer.size, labels=table.facts["labels"])
        evidence = label_evidence(table.columns["text"], table.numbers["label"], tokenizer, labels=len(model.labels))
        start_from(model.embedding, evidence)
        if recipe.training.neighbours:
            start_on_neighbours(model)
        # Row-wise gradients: a step costs the rows of its batch, not the vocabulary, which may be most of the model.
        model.embedding.sparse = True
        return model

    def _pretrained_model(self, config: PretrainedEncoder, table: TokenTable) -> nn.Module:
        assert isinstance(config.weights, FolderWeights)
        return load_encoder(
            config.weights.locate(),
            labels=table.facts["labels"],
            dropout=config.dropout,
            max_positions=config.max_positions,
        )

    def extend(self, table: TokenTable, config: TrainingConfig, tokenizer: TextTokenizer) -> TokenTable:
        """The table; with `made_texts`, as many texts as the steps read, three quarters of them made here."""
        if not config.made_texts:
            return table
        tokens = config.steps * config.batch_tokens * config.accumulation
        return with_made_texts(table, tokenizer, tokens=tokens, context=config.context, seed=config.seed)

    def plan(self, table: TokenTable, config: TrainingConfig, *, seed: int | None) -> list[NDArray[np.int64]]:
        """Buckets of like length."""
        lengths = np.minimum(table.columns["text"].lengths, config.context)
        return bucketed([lengths], batch_tokens=config.batch_tokens, seed=seed)

    def collate(self, table: TokenTable, rows: NDArray[np.int64], config: TrainingConfig) -> Batch:
        """ids (B, S), mask (B, S), labels (B,), or (B, number of labels) where each has a probability."""
        texts = self._augmented(table, rows, config)
        ids = pad([text[: config.context] for text in texts], value=PAD_ID)
        return {
            "ids": torch.from_numpy(ids),
            "mask": torch.from_numpy(ids != PAD_ID),
            "labels": torch.from_numpy(table.numbers["label"][rows]),
        }

    def _augmented(self, table: TokenTable, rows: NDArray[np.int64], config: TrainingConfig) -> list[NDArray[np.int32]]:
        texts = [table.columns["text"].row(int(row)) for row in rows]
        # A batch never comes twice, so its rows seed another draw each time, and the same again after a resume.
        random = np.random.default_rng([config.seed, *rows])
        if config.word_crop > 0:
            starts = table.constants["word_starts"]
            texts = crop_words(texts, starts, probability=config.word_crop, longest=_CROP_WORDS, random=random)
        if config.subword_dropout > 0:
            parts = table.constants["merged_parts"]
            texts = undo_merges(texts, parts, probability=config.subword_dropout, random=random)
        return texts

    def loss(self, model: nn.Module, batch: Batch, *, label_smoothing: float) -> LossSum:
        """Cross-entropy over the texts."""
        scores = model(batch["ids"], mask=batch["mask"])
        total = F.cross_entropy(scores.float(), batch["labels"], reduction="sum", label_smoothing=label_smoothing)
        return LossSum(total, len(batch["labels"]))

    def prepare(self, texts: Sequence[str]) -> Sequence[str]:
        """As they are."""
        return texts

    def room(self, params: Config, *, max_positions: int) -> Room:
        """All of the encoder's positions."""
        del params
        return Room.whole(max_positions)

    def sample_inputs(self, rows: Sequence[Row], count: int) -> list[str]:
        """The first texts."""
        return [row["text"] for row in rows[:count]]

    def answer(self, predictor: Predictor, texts: Sequence[str], params: Config) -> list[Answer]:
        """{"label", "score"} a text, and "top": [[label, score], ...] when `top_k` asks for more than one."""
        assert isinstance(params, ClassificationParams)
        model = predictor.model
        assert isinstance(model, EncoderClassifier)
        count = min(params.top_k, len(model.labels))
        scores, order = self._probabilities(predictor, texts).topk(count, dim=1)
        answers: list[Answer] = []
        for values, numbers in zip(scores.tolist(), order.tolist(), strict=True):
            answer = {"label": model.labels[numbers[0]], "score": round(values[0], 6)}
            if params.top_k > 1:
                answer["top"] = [[model.labels[i], round(v, 6)] for i, v in zip(numbers, values, strict=True)]
            answers.append(answer)
        return answers

    def stream(self, predictor: Predictor, text: str, params: Config) -> Iterator[str]:
        """Raises InputError: a label comes whole."""
        del predictor, text, params
        raise InputError("classification writes no text that could be streamed", remedy="use predict")

    def answer_columns(self, params: Config) -> tuple[str, ...]:
        """The label and its score, and `top` when there is more than one to list."""
        assert isinstance(params, ClassificationParams)
        return ("label", "score", "top") if params.top_k > 1 else ("label", "score")

    @torch.inference_mode()
    def _probabilities(self, predictor: Predictor, texts: Sequence[str]) -> torch.Tensor:
        """(number of texts, labels)."""
        longest = predictor.max_positions
        ids = [np.asarray(row[:longest], dtype=np.int32) for row in predictor.tokenizer.encode_batch(texts)]
        assert isinstance(predictor.model, EncoderClassifier)
        result = torch.empty(len(ids), len(predictor.model.labels))
        batches = chunks([len(row) for row in ids], rows=_ROWS, tokens=_TOKENS)
        with predictor.products():
            for batch in track(batches, label="classifying"):
                padded = torch.from_numpy(pad([ids[row] for row in batch], value=PAD_ID)).to(predictor.device)
                result[batch] = predictor.model(padded, mask=padded != PAD_ID).float().softmax(dim=1).cpu()
        return result

    def evaluate(self, predictor: Predictor, rows: Sequence[Row]) -> Evaluation:
        """Accuracy and macro F1, in percent."""
        # Imported here: a pulled model must run where scikit-learn is not installed.
        from llm.metrics import classification

        answers = self.answer(predictor, [row["text"] for row in rows], self.params())
        found = [answer["label"] for answer in answers if isinstance(answer, dict)]
        labels = [row["label"] for row in rows]
        metrics = classification.score(found, labels)
        sums = classification.row_sums(found, labels)
        columns = sums[self.metric.name].columns
        return Evaluation(metrics=metrics, details={}, answers=answers, columns=columns, sums=sums)

    def evidence(
        self, predictor: Predictor, rows: Sequence[Row], evaluation: Evaluation, training: Iterable[Row]
    ) -> Evidence:
        """Calibration, confused labels, confident mistakes."""
        # Imported here: a pulled model must run where matplotlib is not installed.
        from llm.evidence.classification import classification_evidence

        del predictor, training
        answers = [answer for answer in evaluation.answers if isinstance(answer, dict)]
        return classification_evidence([row["text"] for row in rows], [row["label"] for row in rows], answers)

    def read(self, predictor: Predictor, row: Row, *, longest: int) -> list[list[int]]:
        """The text."""
        ids = predictor.tokenizer.encode(row["text"])[:longest]
        predictor.model(torch.tensor([ids], device=predictor.device))
        return [ids]

    def slices(self, rows: Sequence[Row]) -> Mapping[str, NDArray[np.bool_]]:
        """By label, and what every family looks at."""
        labels = [row["label"] for row in rows]
        return by_value("label", labels) | of_every_kind(rows, [row["text"] for row in rows])


def _presets() -> dict[str, Recipe]:
    quick = Recipe(
        family="classification",
        corpus=StringLanguagesConfig(per_language=20000),
        cleaning=CleaningConfig(maximum_characters=300),
        # Whole words where they are known: what a word says about its language is counted, not learned.
        tokenizer=TokenizerConfig(vocabulary=120_000, prefix_space=True, word_ends=True),
        model=EncoderConfig(width=128, heads=4, layers=1, feed_forward=512, max_positions=256, dropout=0.3),
        training=TrainingConfig(
            steps=8000,
            batch_tokens=768,
            context=128,
            learning_rate=7e-4,
            warmup=300,
            subword_dropout=0.1,
            word_crop=0.2,
            validate_every=1000,
        ),
        evaluation=EvaluationConfig(must_beat=("naive_bayes",)),
    )
    return {
        "smoke": smaller(quick),
        "quick": quick,
        "small": _small(quick),
        "pretrained": _pretrained(quick),
        "standard": quick.vary(
            corpus={"per_language": 0},
            model={"layers": 2, "width": 192, "feed_forward": 768},
            training={"steps": 14000, "batch_tokens": 1024, "subword_dropout": 0.2, "validate_every": 1000},
        ),
    }


def _small(quick: Recipe) -> Recipe:
    """Some thousand texts: an n-gram model teaches the Transformer what so few texts show."""
    return quick.vary(
        corpus={"per_language": 250},
        # Every word of so few texts is an entry: what one text says alone, a pair of words may say again.
        tokenizer={"minimum_frequency": 1},
        model={"layers": 2, "dropout": 0.2},
        training={
            "steps": 3000,
            "batch_tokens": 1024,
            "warmup": 100,
            "subword_dropout": 0.0,
            "word_crop": 0.0,
            "made_texts": True,
            "neighbours": True,
            # The loss on texts that an n-gram model labels goes on falling: no step is better than the last.
            "keep": "last",
        },
    )


def _pretrained(quick: Recipe) -> Recipe:
    """English texts, some thousand of them: MiniLM goes on learning, at a tenth of the rate of a fresh model."""
    training = TrainingConfig(
        steps=700,
        batch_tokens=1536,
        context=128,
        learning_rate=1e-4,
        warmup=40,
        adam_beta2=0.999,
        validate_every=100,
        # While the rate falls, more texts come out right though the loss, which confidence dominates, rises again.
        keep="last",
    )
    values = {"tokenizer": None, "model": PretrainedEncoder(), "training": training}
    return Recipe.model_validate(quick.model_dump() | values)
