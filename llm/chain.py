"""The stages of a recipe, one after another: what a flow does in tasks, and `nightshift reproduce` without them."""

from __future__ import annotations

from pathlib import Path

from llm.evaluate import evaluation_stage
from llm.families import load_family
from llm.ingest.corpus import CorpusPlan, corpus_stage, plan_corpus
from llm.model.pretrained import PretrainedEncoder, pretrained_stage
from llm.recipe import Recipe
from llm.stages import Stage
from llm.tokenizer_training import kept_tokenizer_stage, tokenizer_stage
from llm.tokens import tokens_stage
from llm.training.stage import MODEL_FOLDER
from llm.training.start import Start


def corpus_of(recipe: Recipe, *, root: Path, downloads: Path) -> Stage:
    """The recipe's corpus: see `corpus_stage`, and for what it raises."""
    fields = load_family(recipe.family).fields
    return corpus_stage(recipe.corpus, recipe.cleaning, recipe.splits, fields=fields, root=root, downloads=downloads)


def corpus_plan_of(recipe: Recipe, *, root: Path) -> CorpusPlan:
    """What `corpus_of` would read, without reading more than checksums."""
    fields = load_family(recipe.family).fields
    return plan_corpus(recipe.corpus, recipe.cleaning, recipe.splits, fields=fields, root=root)


def tokenizer_of(recipe: Recipe, corpus: Stage, start: Start | None, *, root: Path, downloads: Path) -> Stage:
    """The tokenizer that is learnt from the train split, or that a pretrained model or the champion brings."""
    if isinstance(recipe.model, PretrainedEncoder):
        return pretrained_stage(recipe.model, root=root, downloads=downloads)
    if start is not None:
        return kept_tokenizer_stage(start.folder, start.tokenizer, root=root)
    family = load_family(recipe.family)
    assert recipe.tokenizer is not None
    return tokenizer_stage(corpus, recipe.tokenizer, fields=family.text_fields, template=family.template, root=root)


def tokens_of(recipe: Recipe, corpus: Stage, tokenizer: Stage, *, root: Path) -> Stage:
    """Every split's rows as tokens."""
    return tokens_stage(corpus, tokenizer, family=load_family(recipe.family), root=root)


def evaluation_of(recipe: Recipe, training: Stage, corpus: Stage, *, root: Path) -> Stage:
    """The trained model's figures on the test split, taken in a process of its own."""
    folder, threads = training.path / MODEL_FOLDER, recipe.training.threads
    return evaluation_stage(folder, training.key, corpus, threads=threads, root=root)
