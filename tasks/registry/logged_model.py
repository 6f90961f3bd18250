"""A trained model as MLflow keeps it: models from code, safetensors and JSON, its own copy of `llm`; no pickle."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types.schema import AnyType, ColSpec, Schema

import llm
from llm.engines.config import ENGINE_PACKAGES, ServingConfig
from llm.errors import RegistryError
from llm.files import temporary_folder
from llm.home import scratch_folder
from tasks.registry.connection import no_retries
from tasks.registry.patience import impatient
from tasks.registry.runs import TRAINING_KEY

_LAST_ATTEMPT_S = 10
# What `llm.predictor` imports, directly or not. Given by name: MLflow would load the model for 14 s to guess it.
REQUIREMENTS = (
    "mlflow",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "pandas",
    "pydantic",
    "filelock",
    "tqdm",
)
# The Hugging Face folder inside a logged model; `artifacts/` is MLflow's own choice.
MODEL_ARTIFACT = "model"
MODEL_PATH = f"artifacts/{MODEL_ARTIFACT}"
# What CTranslate2 reads ends in .bin too, but begins with its format's number and the name of a specification.
_CTRANSLATE2 = re.compile(rb"\x06\x00\x00\x00.\x00Transformer[A-Za-z]*Spec\x00", re.DOTALL)
_PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib")
_SCRIPT = Path(__file__).parents[1] / "pyfunc_model.py"


@dataclass(frozen=True)
class ModelToLog:
    """A finished training's model folder (named `model`), and an example of its use."""

    folder: Path
    family: str
    training_key: str
    inputs: Sequence[str]
    answers: Sequence[str | Mapping[str, Any]]
    params: Mapping[str, Any]
    serving: ServingConfig = field(default_factory=ServingConfig)


def find_logged_model(client: MlflowClient, experiment_id: str, training_key: str) -> str | None:
    """Id of the whole logged model of a training key, if there is one."""
    found = _logged_models(client, experiment_id, training_key)
    ready = [model.model_id for model in found if model.status == LoggedModelStatus.READY]
    return str(ready[-1]) if ready else None


def _logged_models(client: MlflowClient, experiment_id: str, training_key: str) -> list[LoggedModel]:
    key = f"tags.`{TRAINING_KEY}` = '{training_key}'"
    return list(client.search_logged_models([experiment_id], filter_string=key))


def log_model(client: MlflowClient, experiment_id: str, run_id: str, model: ModelToLog) -> str:
    """Save the model and upload it; returns the logged model's id.

    It is done through the client, step by step: `mlflow.pyfunc.log_model` would need the run to be the active one,
    which ends another active run, and would load the model inside this process.
    """
    for unfinished in _logged_models(client, experiment_id, model.training_key):
        # What a killed run left; `mlflow gc` frees the space.
        client.delete_logged_model(unfinished.model_id)
    logged = client.create_logged_model(
        experiment_id, name=model.family, source_run_id=run_id, tags={TRAINING_KEY: model.training_key}
    )
    try:
        with temporary_folder(scratch_folder(), prefix="nightshift-") as temporary:
            folder = Path(temporary) / "model"
            description = Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=run_id,
                model_id=logged.model_id,
            )
            save_model(folder, model, description=description)
            client.log_model_artifacts(logged.model_id, str(folder))
    except BaseException:
        # What is not READY counts for nothing, whether or not it can be said now.
        with suppress(MlflowException), impatient(timeout_s=_LAST_ATTEMPT_S):
            client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)


def link_to_run(client: MlflowClient, model_id: str, run_id: str, *, step: int) -> None:
    """Name the logged model among the run's outputs; twice is the same as once."""
    if _is_linked(client, model_id, run_id):
        return
    try:
        # A repetition after a lost reply is refused: the link is there.
        with no_retries():
            client.log_outputs(run_id, [LoggedModelOutput(model_id, step=step)])
    except (MlflowException, OSError):
        if not _is_linked(client, model_id, run_id):
            raise


def _is_linked(client: MlflowClient, model_id: str, run_id: str) -> bool:
    outputs = client.get_run(run_id).outputs
    return outputs is not None and any(one.model_id == model_id for one in outputs.model_outputs)


def save_model(folder: Path, model: ModelToLog, *, description: Model | None = None) -> None:
    """Write the MLflow model folder.

    Raises RegistryError if anything in it looks like a pickle.
    """
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(_SCRIPT),
        artifacts={MODEL_ARTIFACT: str(model.folder)},
        code_paths=[str(Path(llm.__file__).parent)],
        signature=signature(model),
        input_example=(list(model.inputs), dict(model.params)),
        pip_requirements=requirements(model.serving),
        mlflow_model=description,
        metadata={"family": model.family, TRAINING_KEY: model.training_key},
    )
    pickles = sorted(path.name for path in folder.rglob("*") if path.suffix in _PICKLES and not _is_converted(path))
    if pickles:
        raise RegistryError(
            f"the model folder {model.folder} holds {', '.join(pickles)}, which may be pickles",
            remedy="keep weights as safetensors and everything else as JSON",
        )


def _is_converted(path: Path) -> bool:
    with path.open("rb") as file:
        return _CTRANSLATE2.match(file.read(64)) is not None


def signature(model: ModelToLog) -> ModelSignature:
    """Texts in, what the model answers out, and the typed inference parameters with their defaults.

    The input is said to be anything: under "string", MLflow's server turns a null into the text "None" and a number
    into its digits before the model sees them, and the model could not refuse them.
    """
    found = infer_signature(list(model.inputs), list(model.answers), params=dict(model.params))
    anything = ColSpec(AnyType())  # type: ignore[no-untyped-call]
    return ModelSignature(inputs=Schema([anything]), outputs=found.outputs, params=found.params)


def requirements(serving: ServingConfig) -> list[str]:
    """The installed versions, exact; without local labels such as `+cpu`, which no package index knows."""
    names = (*REQUIREMENTS, *ENGINE_PACKAGES[serving.engine])
    return [f"{name}=={version(name).split('+')[0]}" for name in names]
