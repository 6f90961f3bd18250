"""A recipe: everything that decides what model comes out, composed from the configs of the rooms that own them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from llm.cleaning.config import CleaningConfig
from llm.config import Config, only_chosen
from llm.corpora import CorpusConfig
from llm.engines.config import ServingConfig
from llm.families import FAMILIES
from llm.model.config import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from llm.model.pretrained import FolderWeights, PretrainedEncoder
from llm.splits import SplitConfig
from llm.tokenizer_training import TokenizerConfig
from llm.training.config import TrainingConfig

# A form shows the first that has most of the options it is given: a decoder has all of an encoder's.
ModelConfig = Annotated[
    EncoderConfig | DecoderConfig | EncoderDecoderConfig | PretrainedEncoder,
    Field(discriminator="assembly"),
    only_chosen("assembly", EncoderConfig, DecoderConfig, EncoderDecoderConfig, PretrainedEncoder),
]


class EvaluationConfig(Config):
    """How a trained model is judged on the test split."""

    must_beat: tuple[str, ...] = Field((), description="baselines that a challenger must beat on the deciding metric")


class Recipe(Config):
    """One family's way from corpus to model. The same recipe over the same corpus gives the same weights."""

    family: str = Field(
        description="the kind of language work; model, baselines and the corpus's columns below are for one kind",
        json_schema_extra={"enum": list(FAMILIES)},
    )
    corpus: CorpusConfig = Field(description="where the texts come from; for files of yours, choose Local files")
    cleaning: CleaningConfig = Field(CleaningConfig(), title="Cleaning", description="which records are left out")
    splits: SplitConfig = Field(
        SplitConfig(),
        title="Splits",
        description="what is held out of training, in shares of the groups (not the rows)",
    )
    tokenizer: TokenizerConfig | None = Field(
        None, description="how the vocabulary is learned; none with a pretrained model, which brings its own"
    )
    model: ModelConfig = Field(
        description="how large the network is: decoder for generation, encoder for classification, encoder decoder for "
        "translation"
    )
    training: TrainingConfig = Field(title="Training", description="how long and how it learns")
    start: Literal["fresh", "champion"] = Field(
        "fresh",
        description="champion: go on from its weights, with its tokenizer, where options and labels are the same",
    )
    evaluation: EvaluationConfig = Field(
        EvaluationConfig(), title="Evaluation", description="what a challenger is held against on the test split"
    )
    serving: ServingConfig = Field(
        ServingConfig(), title="Serving", description="how the model is run, here and by whoever pulls it"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if self.family not in FAMILIES:
            raise ValueError(f"there is no family {self.family!r}; the families are {', '.join(FAMILIES)}")
        if self.training.context > self.model.max_positions:
            raise ValueError(
                f"training.context ({self.training.context}) must not exceed "
                f"model.max_positions ({self.model.max_positions})"
            )
        if self.serving.engine != "torch" and not self.model.writes_text:
            raise ValueError(f"serving.engine ({self.serving.engine}) only writes text; {self.family} runs on torch")
        if self.training.neighbours and not (isinstance(self.model, EncoderConfig) and self.model.heads > 1):
            raise ValueError("training.neighbours needs model.assembly encoder with two heads or more")
        if isinstance(self.model, PretrainedEncoder):
            self._fits_a_pretrained_model()
        elif self.tokenizer is None:
            raise ValueError("tokenizer is missing: only model.assembly pretrained_encoder brings its own")
        return self

    def _fits_a_pretrained_model(self) -> None:
        if self.tokenizer is not None:
            raise ValueError("tokenizer must be null with model.assembly pretrained_encoder, which brings its own")
        if self.training.subword_dropout > 0:
            raise ValueError(
                f"training.subword_dropout ({self.training.subword_dropout}) must be 0 with model.assembly "
                "pretrained_encoder: its tokenizer has no merges to undo"
            )

    def located(self, folder: Path) -> Recipe:
        """This recipe with its pretrained weights in `folder`; itself where it starts from none."""
        if not isinstance(self.model, PretrainedEncoder):
            return self
        return self.vary(model={"weights": FolderWeights(path=str(folder)).model_dump()})

    def vary(self, **changes: Mapping[str, Any]) -> Recipe:
        """This recipe with some options of its parts changed, validated anew: `vary(training={"steps": 100})`.

        Raises pydantic's ValidationError, as the constructor does.
        """
        values = self.model_dump()
        for part, options in changes.items():
            values[part] = {**(values[part] or {}), **options}
        return Recipe.model_validate(values)


def smaller(recipe: Recipe) -> Recipe:
    """A recipe of seconds that passes through every joint of the pipeline; what it makes is of no use."""
    training = {"steps": 10, "warmup": 2, "batch_tokens": 512, "validate_every": 5, "validation_batches": 2}
    layers = {name: 1 for name in type(recipe.model).model_fields if name.endswith("layers")}
    sizes = {"width": 32, "heads": 2, "feed_forward": 64, **layers}
    if "kv_heads" in type(recipe.model).model_fields:
        sizes["kv_heads"] = 2
    return recipe.vary(
        cleaning={"maximum_records": 400},
        tokenizer={"vocabulary": 500},
        model=sizes,
        training=training,
        # Ten steps beat nothing: the gate then only asks that the model loads and repeats itself.
        evaluation={"must_beat": ()},
    )
