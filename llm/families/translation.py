"""Translation: an encoder-decoder reads a source text and writes its target, with beam search.

Shapes: B batch, S source length, T target length, N real target positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from llm.baselines.base import BaselineData, BaselineResult
from llm.batching import bucketed, pad
from llm.cleaning.config import CleaningConfig
from llm.config import Config
from llm.corpora.interface_strings import InterfaceStringsConfig
from llm.decoding.config import SearchConfig
from llm.evidence.base import Evidence
from llm.families.base import Answer, Batch, Evaluation, LossSum, Room, Row, lazy_baseline
from llm.model.config import EncoderDecoderConfig
from llm.model.encoder_decoder import EncoderDecoderModel
from llm.model.loss import projected_cross_entropy
from llm.placeholders import named, names_in, numbered
from llm.predictor import Predictor
from llm.recipe import EvaluationConfig, Recipe, smaller
from llm.slicing import of_every_kind
from llm.statistics.measures import CorpusBleu, Measure
from llm.subwords import undo_merges
from llm.text_stream import decoded, named_pieces
from llm.tokenizer import PAD_ID, TextTokenizer
from llm.tokenizer_training import TokenizerConfig
from llm.tokens import Survey, TokenColumn, TokenTable
from llm.training.config import TrainingConfig


class TranslationParams(SearchConfig):
    """Inference parameters of translation."""

    num_beams: int = Field(4, ge=1, le=256, description="partial texts kept by beam search; 1 is greedy")


class Translation:
    """See llm.families.base.Family."""

    name: ClassVar[str] = "translation"
    fields: ClassVar[tuple[str, ...]] = ("source", "target")
    text_fields: ClassVar[tuple[str, ...]] = ("source", "target")
    input_field: ClassVar[str] = "source"
    target_field: ClassVar[str] = "target"
    template: ClassVar[str] = "$A </s>"
    metric: ClassVar[Measure] = CorpusBleu()
    params: ClassVar[type[TranslationParams]] = TranslationParams
    baselines: ClassVar[Mapping[str, Callable[[BaselineData], BaselineResult]]] = {
        "copy_source": lazy_baseline("llm.baselines.copy_source"),
        "translation_memory": lazy_baseline("llm.baselines.translation_memory"),
    }

    def presets(self) -> Mapping[str, Recipe]:
        """See Family."""
        return _presets()

    def survey(self, rows: Iterable[Row], tokenizer: TextTokenizer) -> Survey:
        """The tokenizer's merges, which `subword_dropout` undoes."""
        del rows
        return Survey(constants={"merged_parts": tokenizer.merged_parts()})

    def tokenize(self, rows: Sequence[Row], tokenizer: TextTokenizer, survey: Survey) -> TokenTable:
        """Columns "source" and "target", each text closed by </s>; the source's placeholders are numbered in both."""
        names = [names_in(row["source"]) for row in rows]
        columns = {}
        for field in self.fields:
            texts = [numbered(row[field], known) for row, known in zip(rows, names, strict=True)]
            columns[field] = TokenColumn.encoded(texts, tokenizer)
        return TokenTable.of(columns, survey)

    def build_model(self, recipe: Recipe, table: TokenTable, tokenizer: TextTokenizer) -> nn.Module:
        """See Family."""
        del table
        assert isinstance(recipe.model, EncoderDecoderConfig)
        return EncoderDecoderModel(recipe.model, tokenizer.size)

    def extend(self, table: TokenTable, config: TrainingConfig, tokenizer: TextTokenizer) -> TokenTable:
        """The table."""
        del config, tokenizer
        return table

    def plan(self, table: TokenTable, config: TrainingConfig, *, seed: int | None) -> list[NDArray[np.int64]]:
        """Buckets of like source length and like target length."""
        lengths = [np.minimum(table.columns[field].lengths, config.context) for field in self.fields]
        return bucketed(lengths, batch_tokens=config.batch_tokens, seed=seed)

    def collate(self, table: TokenTable, rows: NDArray[np.int64], config: TrainingConfig) -> Batch:
        """source (B, S), target (B, T) shifted right behind <pad>, labels (N,), select (B, T) where labels stand."""
        # A batch never comes twice, so its rows seed another draw each time, and the same again after a resume.
        random = np.random.default_rng([config.seed, *rows])
        texts = [[table.columns[field].row(int(row)) for row in rows] for field in self.fields]
        if config.subword_dropout > 0:
            parts = table.constants["merged_parts"]
            texts = [undo_merges(side, parts, probability=config.subword_dropout, random=random) for side in texts]
        sources, labels = (pad([text[: config.context] for text in side], value=PAD_ID) for side in texts)
        target = np.roll(labels, 1, axis=1)
        target[:, 0] = PAD_ID  # the twin starts its targets with <pad> too
        select = labels != PAD_ID
        return {
            "source": torch.from_numpy(sources),
            "source_mask": torch.from_numpy(sources != PAD_ID),
            "target": torch.from_numpy(target),
            "select": torch.from_numpy(select),
            "labels": torch.from_numpy(labels[select]),
        }

    def loss(self, model: nn.Module, batch: Batch, *, label_smoothing: float) -> LossSum:
        """Cross-entropy over the real target tokens; no product is spent on padding's scores."""
        assert isinstance(model, EncoderDecoderModel)
        states = model.states(
            batch["source"], batch["target"], source_mask=batch["source_mask"], select=batch["select"]
        )
        labels = batch["labels"]
        total = projected_cross_entropy(states, model.embedding.weight, labels, label_smoothing=label_smoothing)
        return LossSum(total, int(batch["labels"].numel()))

    def prepare(self, texts: Sequence[str]) -> Sequence[str]:
        """With numbered placeholders, as in training."""
        return [numbered(text, names_in(text)) for text in texts]

    def room(self, params: Config, *, max_positions: int) -> Room:
        """All of the encoder's positions."""
        del params
        return Room.whole(max_positions)

    def sample_inputs(self, rows: Sequence[Row], count: int) -> list[str]:
        """The first sources."""
        return [row["source"] for row in rows[:count]]

    def answer(self, predictor: Predictor, texts: Sequence[str], params: SearchConfig) -> list[Answer]:
        """Translations: the model sees numbered placeholders, the answers hold their names."""
        longest = predictor.max_positions
        sources = [ids[:longest] for ids in predictor.tokenizer.encode_batch(self.prepare(texts))]
        written = predictor.tokenizer.decode_batch(predictor.engine.write(sources, params))
        return [named(target, names_in(text)) for target, text in zip(written, texts, strict=True)]

    def stream(self, predictor: Predictor, text: str, params: SearchConfig) -> Iterator[str]:
        """The translation, with the names of its placeholders."""
        [source] = predictor.tokenizer.encode_batch(self.prepare([text]))
        pieces = decoded(predictor.engine.stream(source, params), predictor.tokenizer)
        return named_pieces(pieces, names_in(text))

    def answer_columns(self, params: Config) -> tuple[str, ...]:
        """The translation."""
        del params
        return ("translation",)

    def evaluate(self, predictor: Predictor, rows: Sequence[Row]) -> Evaluation:
        """BLEU, chrF and the share of placeholders kept, in percent."""
        # Imported here: a pulled model must run where sacrebleu is not installed.
        from llm.metrics import translation

        sources = [row["source"] for row in rows]
        answers = self.answer(predictor, sources, self.params())
        written, references = [str(text) for text in answers], [row["target"] for row in rows]
        scores = translation.score(written, references, sources=sources)
        sums = translation.row_sums(written, references, sources=sources)
        columns = sums[self.metric.name].columns
        return Evaluation(metrics=scores.metrics, details=scores.details, answers=answers, columns=columns, sums=sums)

    def evidence(
        self, predictor: Predictor, rows: Sequence[Row], evaluation: Evaluation, training: Iterable[Row]
    ) -> Evidence:
        """Samples, worst and best rows, placeholders lost or made up."""
        from llm.evidence.translation import translation_evidence

        del predictor, training
        written = [str(answer) for answer in evaluation.answers]
        sources, references = ([row[field] for row in rows] for field in self.fields)
        return translation_evidence(sources, written, references, evaluation.sums)

    def read(self, predictor: Predictor, row: Row, *, longest: int) -> list[list[int]]:
        """The source, and the target behind <pad>, without its last token, as in training."""
        names = names_in(row["source"])
        texts = [numbered(row[field], names) for field in self.fields]
        source, labels = (ids[:longest] for ids in predictor.tokenizer.encode_batch(texts))
        target = [PAD_ID, *labels[:-1]]
        predictor.model(*(torch.tensor([ids], device=predictor.device) for ids in (source, target)))
        return [source, target]

    def slices(self, rows: Sequence[Row]) -> Mapping[str, NDArray[np.bool_]]:
        """Whether the source holds placeholders, and what every family looks at, of the source."""
        sources = [row["source"] for row in rows]
        held = np.array([bool(names_in(text)) for text in sources], dtype=bool)
        return {"placeholders": held} | of_every_kind(rows, sources)


def _presets() -> dict[str, Recipe]:
    quick = Recipe(
        family="translation",
        corpus=InterfaceStringsConfig(),
        cleaning=CleaningConfig(maximum_characters=300),
        tokenizer=TokenizerConfig(vocabulary=4000),
        model=EncoderDecoderConfig(
            width=192, heads=4, encoder_layers=3, decoder_layers=2, feed_forward=768, max_positions=256, dropout=0.1
        ),
        training=TrainingConfig(
            steps=1300,
            batch_tokens=2048,
            context=128,
            learning_rate=5e-3,
            optimizer="muon",
            warmup=200,
            label_smoothing=0.1,
            validate_every=260,
        ),
        evaluation=EvaluationConfig(must_beat=("copy_source",)),
    )
    standard_model = {"width": 256, "encoder_layers": 4, "decoder_layers": 3, "feed_forward": 1024, "dropout": 0.2}
    standard_training = {
        "steps": 5500,
        "batch_tokens": 3072,
        # Muon was measured for `quick` only.
        "optimizer": "adamw",
        "learning_rate": 1.5e-3,
        "warmup": 500,
        "validate_every": 250,
    }
    return {
        "smoke": smaller(quick),
        "quick": quick,
        "standard": quick.vary(
            model=standard_model,
            training=standard_training,
            evaluation={"must_beat": ("copy_source", "translation_memory")},
        ),
    }
