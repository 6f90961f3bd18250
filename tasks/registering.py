"""What a finished training leaves in MLflow: results, lineage, environment, and the registered model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from llm.environment import ENVIRONMENT_FILE
from llm.evaluate import EVIDENCE_FOLDER
from llm.evidence.pictures import loss_curve
from llm.families import load_family
from llm.files import read_json, read_jsonl
from llm.recipe import Recipe
from llm.stages import Stage
from llm.training.stage import HISTORY_FILE, MODEL_FOLDER, PREDICTIONS_FILE
from tasks.lineage import LINEAGE_FILE, lineage
from tasks.registry.logged_model import ModelToLog
from tasks.registry.runs import TrainingRun
from tasks.registry.versions import Measured, Version, register

_EXAMPLES = 2


def register_training(
    recipe: Recipe,
    run: TrainingRun,
    *,
    corpus: Stage,
    training: Stage,
    evaluation: Stage,
    baselines: Mapping[str, Mapping[str, float]],
    root: Path,
) -> Version:
    """Log all that is known of a training whose stages lie in `root`, and register its model; twice adds nothing.

    Raises RegistryError when MLflow refuses or cannot be reached.
    """
    family = load_family(recipe.family)
    predictions = read_json(training.path / PREDICTIONS_FILE)
    run.log_json(LINEAGE_FILE, lineage(evaluation, root=root))
    run.log_json(ENVIRONMENT_FILE, read_json(training.path / ENVIRONMENT_FILE))
    run.log_files(_evidence_files(evaluation, training), folder=EVIDENCE_FOLDER)
    model = ModelToLog(
        folder=training.path / MODEL_FOLDER,
        family=family.name,
        training_key=training.key,
        inputs=predictions["inputs"][:_EXAMPLES],
        answers=predictions["answers"][:_EXAMPLES],
        params=family.params().model_dump(mode="json"),
        serving=recipe.serving,
    )
    measured = Measured(
        metrics=evaluation.facts["metrics"],
        baselines=baselines,
        test_split=corpus.key,
        intervals=evaluation.facts["intervals"],
    )
    return register(run, model, measured, step=training.facts["steps"])


def _evidence_files(evaluation: Stage, training: Stage) -> dict[str, bytes | Path]:
    files: dict[str, bytes | Path] = {path.name: path for path in (evaluation.path / EVIDENCE_FOLDER).iterdir()}
    return files | {"loss.png": loss_curve(list(read_jsonl(training.path / HISTORY_FILE)))}
