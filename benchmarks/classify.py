"""Classification of standard sets, ours beside TF-IDF and logistic regression on the same split; one JSON line.

Ours is a recipe trained from nothing and, with `--encoder`, a pretrained BERT that goes on learning.

Sets: SST-2 (2 labels), TREC-6 (6), AG News (4, of which 10,001 rows to train on). Each model is chosen on the dev split
(cut out of train where a set has none) and reads the test split once.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from llm.engines.torch_engine import TorchEngine
from llm.families.classification import Classification
from llm.home import downloads_folder
from llm.model.pretrained import PretrainedEncoder, pretrained_stage
from llm.predictor import Predictor
from llm.recipe import Recipe
from llm.splits import SPLITS
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import train_tokenizer
from llm.training.trainer import Trainer

Row = dict[str, str]
# Every so many training rows go to dev where a set has none: 10 %.
_DEV_EVERY = 10
_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Source:
    """Files of a set, and which column holds the label."""

    train: str
    test: str
    dev: str | None = None
    label: str = "label"


SETS = {
    "sst2": Source(train="sst2/train.tsv", dev="sst2/dev.tsv", test="sst2/test.tsv"),
    "trec6": Source(train="trec6/train.tsv", test="trec6/test.tsv", label="coarse"),
    "agnews": Source(train="agnews/train10k.tsv", test="agnews/test.tsv"),
}


def read(folder: Path, source: Source) -> dict[str, list[Row]]:
    """Rows by split; training texts that are also in the test split are left out."""
    splits = {
        name: _rows(folder / path, source.label) for name, path in (("train", source.train), ("test", source.test))
    }
    held_out = {row["text"] for row in splits["test"]}
    splits["train"] = [row for row in splits["train"] if row["text"] not in held_out]
    if source.dev is not None:
        splits["validation"] = _rows(folder / source.dev, source.label)
    else:
        splits["validation"] = splits["train"][::_DEV_EVERY]
        splits["train"] = [row for number, row in enumerate(splits["train"]) if number % _DEV_EVERY]
    return splits


def _rows(path: Path, label: str) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [{"text": row["text"], "label": row[label]} for row in rows]


def tfidf_regression(splits: dict[str, list[Row]]) -> dict[str, float]:
    """Accuracy (percent) of logistic regression over TF-IDF of words and word pairs; strength chosen on dev."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    started = time.monotonic()
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, tokenizer=str.split, token_pattern=None)
    train = vectorizer.fit_transform([row["text"] for row in splits["train"]])
    labels = [row["label"] for row in splits["train"]]

    def accuracy(model: Any, split: str) -> float:
        rows = splits[split]
        return 100 * float(model.score(vectorizer.transform([r["text"] for r in rows]), [r["label"] for r in rows]))

    models = [LogisticRegression(C=strength, max_iter=1000).fit(train, labels) for strength in _STRENGTHS]
    best = max(models, key=lambda model: accuracy(model, "validation"))
    return {
        "validation": accuracy(best, "validation"),
        "test": accuracy(best, "test"),
        "seconds": time.monotonic() - started,
    }


def ours(splits: dict[str, list[Row]], recipe: Recipe, folder: Path) -> dict[str, float]:
    """Accuracy (percent) of a recipe; `folder` keeps checkpoints, and pretrained weights where it starts from some."""
    started = time.monotonic()
    family = Classification()
    tokenizer, recipe = _prepared(splits, recipe, folder)
    survey = family.survey((row for split in SPLITS for row in splits[split]), tokenizer)
    train, dev = (family.tokenize(splits[split], tokenizer, survey) for split in ("train", "validation"))
    torch.manual_seed(recipe.training.seed)
    model = family.build_model(recipe, train, tokenizer)
    trainer = Trainer(
        family=family,
        model=model,
        train=family.extend(train, recipe.training, tokenizer),
        validation=dev,
        config=recipe.training,
        folder=folder / "checkpoints",
        report=lambda *_: None,
    )
    trainer.run()
    engine = TorchEngine(model)
    predictor = Predictor(family=family, model=model, tokenizer=tokenizer, description={}, engine=engine)
    return {
        "validation": family.evaluate(predictor, splits["validation"]).metrics["accuracy"],
        "test": family.evaluate(predictor, splits["test"]).metrics["accuracy"],
        "seconds": time.monotonic() - started,
    }


def _prepared(splits: dict[str, list[Row]], recipe: Recipe, folder: Path) -> tuple[TextTokenizer, Recipe]:
    if isinstance(recipe.model, PretrainedEncoder):
        stage = pretrained_stage(recipe.model, root=folder, downloads=downloads_folder())
        return TextTokenizer.load(stage.path), recipe.located(stage.path)
    texts = [row["text"] for row in splits["train"]]
    return TextTokenizer(train_tokenizer(texts, recipe.tokenizer, template=Classification.template)), recipe


def pretrained_recipe(encoder: str, **training: Any) -> Recipe:
    """The pretrained preset over the weights in a folder; `wheel`: over its own."""
    recipe = Classification().presets()["pretrained"].vary(training=training)
    return recipe if encoder == "wheel" else recipe.located(Path(encoder))


def small_recipe(**training: Any) -> Recipe:
    """The preset for some thousand texts."""
    return Classification().presets()["small"].vary(training=training)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classify", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds sst2/, trec6/ and agnews/")
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS), help="which sets")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the training")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--encoder", metavar="wheel|FOLDER", help="also fine-tune these pretrained weights")
    options = parser.parse_args(arguments)
    results = {}
    for name in options.sets:
        splits = read(options.data, SETS[name])
        chosen = {"seed": options.seed, "threads": options.threads}
        recipes = {"ours": small_recipe(**chosen)}
        if options.encoder:
            recipes["pretrained"] = pretrained_recipe(options.encoder, **chosen)
        found = {"tfidf_regression": tfidf_regression(splits)}
        for who, recipe in recipes.items():
            with tempfile.TemporaryDirectory() as folder:
                found[who] = ours(splits, recipe, Path(folder))
        results[name] = {who: {key: round(value, 2) for key, value in row.items()} for who, row in found.items()}
    print(json.dumps({"benchmark": "classify", "results": results}))


if __name__ == "__main__":
    main()
