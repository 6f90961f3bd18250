"""Multi30k, English to German, from nothing in a given time: BLEU on the flickr test set of 2016; one JSON line.

Two measures: sacreBLEU of the raw, cased output, and BLEU of lowercased, tokenised text, the measure of the published
41.02 (Wu et al. 2021, a Transformer of 4 layers trained on lowercased text).
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sacrebleu
import torch

from benchmarks.race import machine
from llm.engines.torch_engine import TorchEngine
from llm.families.translation import Translation
from llm.model.folder import save_model
from llm.predictor import Predictor
from llm.recipe import Recipe
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import train_tokenizer
from llm.training.trainer import Trainer

_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
_PUBLISHED = 41.02
_TOO_MANY_STEPS = 1_000_000  # the time ends the training
_BEAMS = 5
# Of these, the one that scores best on the validation split is taken for the test split, which is read once.
_LENGTH_PENALTIES = (0.6, 1.0, 1.4, 1.8)

Row = dict[str, str]


def read(folder: Path, *, lowercase: bool) -> dict[str, list[Row]]:
    """Pairs by split."""
    splits = {}
    for split, name in _FILES.items():
        sides = [gzip.decompress((folder / f"{name}.{side}.gz").read_bytes()).decode() for side in ("en", "de")]
        lines = [(side.lower() if lowercase else side).splitlines() for side in sides]
        splits[split] = [{"source": source, "target": target} for source, target in zip(*lines, strict=True)]
    return splits


def recipe(options: argparse.Namespace) -> Recipe:
    """The `standard` preset, smaller and with Muon for 29,000 pairs, and a time in place of a number of steps."""
    training = {
        "steps": _TOO_MANY_STEPS,
        "minutes": options.minutes,
        "batch_tokens": 4096,
        "learning_rate": options.learning_rate,
        "warmup": 400,
        "validate_every": 250,
        "average": options.average,
        "optimizer": options.optimizer,
        "keep": options.keep,
        "seed": options.seed,
        "threads": options.threads,
        "precision": options.precision,
        "subword_dropout": options.subword_dropout,
    }
    model = {
        "width": options.width,
        "heads": options.width // 32,
        "encoder_layers": options.encoder_layers,
        "decoder_layers": options.decoder_layers,
        "feed_forward": options.feed_forward,
        "dropout": options.dropout,
    }
    return (
        Translation()
        .presets()["standard"]
        .vary(tokenizer={"vocabulary": options.vocabulary}, model=model, training=training)
    )


def train(splits: dict[str, list[Row]], chosen: Recipe, folder: Path) -> tuple[Predictor, dict[str, Any]]:
    """The best model of the time, and how far it came."""
    family = Translation()
    texts = [row[field] for row in splits["train"] for field in family.text_fields]
    tokenizer = TextTokenizer(train_tokenizer(texts, chosen.tokenizer, template=family.template))
    survey = family.survey(splits["train"], tokenizer)
    tables = {split: family.tokenize(splits[split], tokenizer, survey) for split in ("train", "validation")}
    torch.manual_seed(chosen.training.seed)
    model = family.build_model(chosen, tables["train"], tokenizer)
    trainer = Trainer(
        family=family,
        model=model,
        train=tables["train"],
        validation=tables["validation"],
        config=chosen.training,
        folder=folder,
        report=lambda *_: None,
    )
    progress = trainer.run()
    facts = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(progress.seconds, 1),
        "steps": progress.step,
        "epochs": progress.epoch,
        "best_step": progress.best_step,
        "products": progress.products,
    }
    engine = TorchEngine(model)
    return Predictor(family=family, model=model, tokenizer=tokenizer, description={}, engine=engine), facts


def save(predictor: Predictor, folder: Path) -> None:
    """The model and its tokenizer, as transformers reads them."""
    save_model(folder, predictor.model, description={}, generation=None)
    predictor.tokenizer.save(folder)


def choose_penalty(predictor: Predictor, rows: Sequence[Row], measure: sacrebleu.metrics.BLEU) -> dict[str, float]:
    """BLEU of the validation split by length penalty, the best first."""
    scores = {penalty: bleu(translate(predictor, rows, penalty), rows, measure) for penalty in _LENGTH_PENALTIES}
    best_first = sorted(scores, key=lambda penalty: -scores[penalty])
    return {str(penalty): scores[penalty] for penalty in best_first}


def translate(predictor: Predictor, rows: Sequence[Row], penalty: float) -> list[str]:
    """What beam search writes for the sources."""
    texts = [row["source"] for row in rows]
    return [str(answer) for answer in predictor.predict(texts, num_beams=_BEAMS, length_penalty=penalty)]


def bleu(answers: Sequence[str], rows: Sequence[Row], measure: sacrebleu.metrics.BLEU) -> float:
    """BLEU with one reference a row."""
    return round(measure.corpus_score(answers, [[row["target"] for row in rows]]).score, 2)


def score(predictor: Predictor, splits: dict[str, list[Row]], *, lowercase: bool) -> dict[str, Any]:
    """BLEU of the test split by both measures; the length penalty is chosen by the one that the training is for."""
    raw, lowercased = sacrebleu.metrics.BLEU(), sacrebleu.metrics.BLEU(lowercase=True)
    validation = choose_penalty(predictor, splits["validation"], lowercased if lowercase else raw)
    started = time.monotonic()
    answers = translate(predictor, splits["test"], float(next(iter(validation))))
    seconds = time.monotonic() - started
    return {
        "validation_by_length_penalty": validation,
        "sacrebleu": bleu(answers, splits["test"], raw),
        "signature": str(raw.get_signature()),
        "lowercased_tokenised": bleu(answers, splits["test"], lowercased),
        "lowercased_signature": str(lowercased.get_signature()),
        "published": _PUBLISHED,
        "translation_seconds": round(seconds, 1),
    }


def options_of(arguments: Sequence[str] | None = None, **values: Any) -> argparse.Namespace:
    """The command line's options; `values` take the place of their defaults."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multi30k", description=__doc__)
    parser.add_argument("--data", type=Path, required="data" not in values, help="folder that holds train.en.gz etc.")
    parser.add_argument("--out", type=Path, help="folder for the last trained model")
    parser.add_argument("--minutes", type=float, default=30.0, help="training time")
    parser.add_argument("--rounds", type=int, default=1, help="trainings, each from another seed")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the first training")
    parser.add_argument("--precision", default="auto", help="as training.precision")
    parser.add_argument("--lowercase", action="store_true", help="train and test on lowercased text, as published")
    parser.add_argument("--vocabulary", type=int, default=8000, help="joint subwords")
    parser.add_argument("--width", type=int, default=192, help="of the model; heads are 32 wide")
    parser.add_argument("--feed-forward", type=int, default=384, help="inner width of the layers")
    parser.add_argument("--encoder-layers", type=int, default=4)
    parser.add_argument("--decoder-layers", type=int, default=4)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--subword-dropout", type=float, default=0.1)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    parser.add_argument("--optimizer", default="muon", help="as training.optimizer")
    parser.add_argument("--average", type=float, default=0.998, help="as training.average")
    parser.add_argument("--keep", default="last", help="as training.keep")
    parser.set_defaults(**values)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line."""
    options = options_of(arguments)
    splits = read(options.data, lowercase=options.lowercase)
    results = []
    for number in range(options.rounds):
        chosen = recipe(argparse.Namespace(**vars(options) | {"seed": options.seed + number}))
        with tempfile.TemporaryDirectory() as folder:
            predictor, facts = train(splits, chosen, Path(folder))
        if options.out:
            save(predictor, options.out)
        results.append(facts | score(predictor, splits, lowercase=options.lowercase))
    config = {"model": chosen.model.model_dump(), "training": chosen.training.model_dump()}
    print(json.dumps({"benchmark": "multi30k", "results": results, "config": config, "machine": machine()}))


if __name__ == "__main__":
    main()
