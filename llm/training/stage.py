"""The training stage: token tables and a recipe in, a Hugging Face folder, its curve and its first predictions out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from llm.environment import ENVIRONMENT_FILE, environment
from llm.errors import StageError
from llm.families import load_family
from llm.families.base import Family
from llm.files import write_json, write_jsonl
from llm.model.folder import save_model
from llm.model.products import choose_products
from llm.predictor import Predictor, pick_device
from llm.recipe import Recipe
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import TextTokenizer
from llm.tokens import TokenTable, read_rows
from llm.training.machine import deterministic
from llm.training.random_state import seeded
from llm.training.start import Start, for_successors
from llm.training.trainer import Report, Trainer

log = logging.getLogger(__name__)

_VERSION = 5
_SAMPLES = 20

MODEL_FOLDER = "model"
PREDICTIONS_FILE = "predictions.json"
HISTORY_FILE = "history.jsonl"
_CHECKPOINTS = "checkpoints"


def training_spec(recipe: Recipe, *, tokens: Stage, tokenizer: Stage, start: Start | None = None) -> StageSpec:
    """What identifies a training: family, sizes, options, the token tables, and the weights that it goes on from.

    A champion that learned just this is not its own successor: then the training that made it is meant.
    """
    if start is None:
        return _spec(recipe, tokens=tokens, tokenizer=tokenizer, before=None)
    again = _spec(recipe, tokens=tokens, tokenizer=tokenizer, before=start.before)
    return again if again.key == start.training else _spec(recipe, tokens=tokens, tokenizer=tokenizer, before=start.key)


def _spec(recipe: Recipe, *, tokens: Stage, tokenizer: Stage, before: str | None) -> StageSpec:
    config = {
        "family": recipe.family,
        "model": recipe.model.model_dump(mode="json"),
        "training": recipe.training.model_dump(mode="json"),
        # The folder carries the engine's files, and its predictions are the engine's.
        "serving": recipe.serving.model_dump(mode="json"),
    }
    return StageSpec(
        name="training",
        version=_VERSION,
        config=config,
        inputs={"tokens": tokens, "tokenizer": tokenizer} | ({"start": before} if before else {}),
        resumable=True,
        scratch=_CHECKPOINTS,
    )


def training_stage(
    recipe: Recipe,
    *,
    corpus: Stage,
    tokens: Stage,
    tokenizer: Stage,
    root: Path,
    report: Report,
    start: Start | None = None,
    until: datetime | None = None,
) -> Stage:
    """Train, at most until then (with `training.limited`), or return what was trained before.

    The folder holds `model/` (a Hugging Face folder), `history.jsonl` (the curve), `environment.json` (with what it was
    trained) and `predictions.json`: inputs from the test split with the answers that the model gave here, which it must
    repeat wherever it is loaded.
    """
    spec = training_spec(recipe, tokens=tokens, tokenizer=tokenizer, start=start)

    def build(folder: Path) -> dict[str, Any]:
        stages = _Stages(corpus=corpus, tokens=tokens, tokenizer=tokenizer)
        return _train(recipe, spec=spec, stages=stages, start=start, folder=folder, report=report, until=until)

    return run_stage(spec, build, root=root)


@dataclass(frozen=True)
class _Stages:
    corpus: Stage
    tokens: Stage
    tokenizer: Stage


def _train(
    recipe: Recipe,
    *,
    spec: StageSpec,
    stages: _Stages,
    start: Start | None,
    folder: Path,
    report: Report,
    until: datetime | None,
) -> dict[str, Any]:
    family = load_family(recipe.family)
    before = spec.input_keys.get("start")
    text_tokenizer = TextTokenizer.load(stages.tokenizer.path)
    train = TokenTable.load(stages.tokens.path / "train.safetensors")
    device = pick_device(recipe.training.device)
    with seeded(recipe.training.seed, device):
        # What is computed for the first weights must not depend on how many threads the caller has.
        with deterministic(recipe.training.threads):
            # With pretrained weights, the stage that brings the tokenizer brings them too.
            model = family.build_model(recipe.located(stages.tokenizer.path), train, text_tokenizer)
            if before is not None:
                _start(start, before).fill(model)
            model = model.to(device)
            train = family.extend(train, recipe.training, text_tokenizer)
        trainer = Trainer(
            family=family,
            model=model,
            train=train,
            validation=TokenTable.load(stages.tokens.path / "validation.safetensors"),
            config=recipe.training,
            folder=folder / _CHECKPOINTS,
            report=report,
            until=until,
        )
        progress = trainer.run()
    description = {
        "family": recipe.family,
        "training_key": spec.key,
        "recipe": recipe.model_dump(mode="json"),
        "params": family.params().model_dump(mode="json"),
        **for_successors(stages.corpus, stages.tokenizer, before),
    }
    _save_model(folder / MODEL_FOLDER, model, text_tokenizer, description)
    write_jsonl(folder / HISTORY_FILE, progress.history)
    write_json(folder / ENVIRONMENT_FILE, training_environment(recipe, products=progress.products))
    with deterministic(recipe.training.threads):
        # Loaded as a user will load it, which writes what the engine needs beside the weights.
        predictor = Predictor.load(folder / MODEL_FOLDER, device=recipe.training.device)
        write_json(folder / PREDICTIONS_FILE, _predictions(predictor, family, stages.corpus))
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": progress.step,
        "best_step": progress.best_step,
        "validation_loss": progress.best_loss,
        "products": progress.products,
        "training_seconds": round(progress.seconds, 1),
    } | ({"clocked": progress.clocked} if recipe.training.limited else {})


def training_environment(recipe: Recipe, *, products: str | None = None) -> dict[str, Any]:
    """With what this process trains the recipe: see `environment`; `products` None: in the way that it would choose."""
    config = recipe.training
    device = pick_device(config.device)
    chosen = products or choose_products(config.precision, device)
    return environment(threads=config.threads, products=chosen, device=device.type)


def _start(start: Start | None, before: str) -> Start:
    if start is None or start.key != before:
        raise StageError(
            f"the champion went on from the weights {before}, which are gone like the training that made it",
            remedy="set start to fresh for a night, or training.seed to another number",
        )
    log.info("training goes on from the champion's weights (%s)", before)
    return start


def _save_model(folder: Path, model: nn.Module, tokenizer: TextTokenizer, description: dict[str, Any]) -> None:
    writes_text = "max_new_tokens" in description["params"]
    generation = _generation_defaults(description["params"]) if writes_text else None
    save_model(folder, model, description=description, generation=generation)
    longest: int = model.max_positions  # type: ignore[assignment]
    tokenizer.save(folder, max_length=longest)


def _generation_defaults(params: dict[str, Any]) -> dict[str, Any]:
    """Our inference parameters in the words of `transformers`, where 0 is not "off"."""
    defaults = {key: params[key] for key in ("max_new_tokens", "num_beams", "length_penalty")}
    if params["temperature"] > 0:
        defaults |= {"do_sample": True} | {key: params[key] for key in ("temperature", "top_k", "top_p")}
    return defaults


def _predictions(predictor: Predictor, family: Family, corpus: Stage) -> dict[str, Any]:
    rows = list(islice(read_rows(corpus.path, "test"), _SAMPLES))
    inputs = [predictor.shortened(text) for text in family.sample_inputs(rows, _SAMPLES)]
    answers = predictor.predict(inputs)
    expected = [row[family.target_field] for row in rows[: len(inputs)]]
    params = predictor.description["params"]
    return {"inputs": inputs, "answers": answers, "expected": expected, "params": params}
