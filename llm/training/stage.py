"""The training stage: token tables and a recipe in, a Hugging Face folder, its curve and its first predictions out."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from llm.families import load_family
from llm.families.base import Family
from llm.files import write_json, write_jsonl
from llm.model.folder import save_model
from llm.predictor import Predictor, pick_device
from llm.recipe import Recipe
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import TextTokenizer
from llm.tokens import TokenTable, read_rows
from llm.training.trainer import Report, Trainer, deterministic

_VERSION = 2
_SAMPLES = 20

MODEL_FOLDER = "model"
PREDICTIONS_FILE = "predictions.json"
HISTORY_FILE = "history.jsonl"


def training_spec(recipe: Recipe, *, tokens: Stage, tokenizer: Stage) -> StageSpec:
    """What identifies a training: family, sizes, options and the token tables."""
    config = {
        "family": recipe.family,
        "model": recipe.model.model_dump(mode="json"),
        "training": recipe.training.model_dump(mode="json"),
    }
    return StageSpec(
        name="training",
        version=_VERSION,
        config=config,
        inputs={"tokens": tokens, "tokenizer": tokenizer},
        resumable=True,
    )


def training_stage(
    recipe: Recipe, *, corpus: Stage, tokens: Stage, tokenizer: Stage, root: Path, report: Report
) -> Stage:
    """Train, or return what was trained before.

    The folder holds `model/` (a Hugging Face folder), `history.jsonl` (the curve) and `predictions.json`: inputs from
    the test split with the answers that the model gave here, which it must repeat wherever it is loaded.
    """
    spec = training_spec(recipe, tokens=tokens, tokenizer=tokenizer)

    def build(folder: Path) -> dict[str, Any]:
        return _train(
            recipe, spec=spec, corpus=corpus, tokens=tokens, tokenizer=tokenizer, folder=folder, report=report
        )

    return run_stage(spec, build, root=root)


def _train(
    recipe: Recipe, *, spec: StageSpec, corpus: Stage, tokens: Stage, tokenizer: Stage, folder: Path, report: Report
) -> dict[str, Any]:
    family = load_family(recipe.family)
    text_tokenizer = TextTokenizer.load(tokenizer.path)
    train = TokenTable.load(tokens.path / "train.safetensors")
    checkpoints = folder / "checkpoints"
    # The caller's random state is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        # What is computed for the first weights must not depend on how many threads the caller has.
        with deterministic(recipe.training.threads):
            model = family.build_model(recipe, train, text_tokenizer).to(pick_device(recipe.training.device))
        trainer = Trainer(
            family=family,
            model=model,
            train=train,
            validation=TokenTable.load(tokens.path / "validation.safetensors"),
            config=recipe.training,
            folder=checkpoints,
            report=report,
        )
        progress = trainer.run()
    description = {
        "family": recipe.family,
        "training_key": spec.key,
        "recipe": recipe.model_dump(mode="json"),
        "params": family.params().model_dump(mode="json"),
    }
    predictor = Predictor(family=family, model=model, tokenizer=text_tokenizer, description=description)
    _save_model(folder / MODEL_FOLDER, predictor)
    write_jsonl(folder / HISTORY_FILE, progress.history)
    with deterministic(recipe.training.threads):
        write_json(folder / PREDICTIONS_FILE, _predictions(predictor, family, corpus))
    shutil.rmtree(checkpoints)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": progress.step,
        "best_step": progress.best_step,
        "validation_loss": progress.best_loss,
        "precision": progress.precision,
        "training_seconds": round(progress.seconds, 1),
    }


def _save_model(folder: Path, predictor: Predictor) -> None:
    writes_text = "max_new_tokens" in predictor.description["params"]
    generation = _generation_defaults(predictor.description["params"]) if writes_text else None
    save_model(folder, predictor.model, description=predictor.description, generation=generation)
    predictor.tokenizer.save(folder, max_length=predictor.max_positions)


def _generation_defaults(params: dict[str, Any]) -> dict[str, Any]:
    """Our inference parameters in the words of `transformers`, where 0 is not "off"."""
    defaults = {key: params[key] for key in ("max_new_tokens", "num_beams", "length_penalty")}
    if params["temperature"] > 0:
        defaults |= {"do_sample": True} | {key: params[key] for key in ("temperature", "top_k", "top_p")}
    return defaults


def _predictions(predictor: Predictor, family: Family, corpus: Stage) -> dict[str, Any]:
    rows = list(islice(read_rows(corpus.path, "test"), _SAMPLES))
    inputs = family.sample_inputs(rows, _SAMPLES)
    answers = predictor.predict(inputs)
    expected = [row[family.target_field] for row in rows[: len(inputs)]]
    params = predictor.description["params"]
    return {"inputs": inputs, "answers": answers, "expected": expected, "params": params}
