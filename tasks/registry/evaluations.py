"""MLflow runs that say how good a registered version is on some data, linked to the version."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

from mlflow.entities import LoggedModelInput, Metric, Param

from tasks.registry.connection import TAG_PREFIX, client, registry_errors, run_url
from tasks.registry.runs import DatasetRecord, closed_if_it_fails, create_run, dataset_input, experiment_id
from tasks.registry.versions import Version

_LOGGED_MODEL = "models:/"
EVALUATED = f"{TAG_PREFIX}evaluated_version"
_EVALUATED_KEY = f"{TAG_PREFIX}evaluated_training_key"
_EVALUATION = f"{TAG_PREFIX}evaluation"


@dataclass(frozen=True)
class EvaluationRun:
    """The run that an evaluation left; `url` None: no server shows pages."""

    run_id: str
    url: str | None


def log_evaluation(
    version: Version, metrics: Mapping[str, float], data: DatasetRecord, *, tags: Mapping[str, str], page: str
) -> EvaluationRun:
    """A finished run in the family's experiment: metrics, data and `page` (markdown), on the logged model too.

    Raises RegistryError when MLflow refuses or cannot be reached.
    """
    with registry_errors(f"logging the evaluation of {version.family} version {version.version}"):
        mlflow_client = client()
        experiment = experiment_id(mlflow_client, version.family)
        model_id = _logged_model(mlflow_client.get_model_version(version.family, str(version.version)).source or "")
        run_id = create_run(
            mlflow_client,
            experiment,
            f"evaluation of version {version.version}",
            key=(_EVALUATION, uuid4().hex),
            tags={EVALUATED: str(version.version), _EVALUATED_KEY: version.training_key, **tags},
        )
        with closed_if_it_fails(lambda: mlflow_client.set_terminated(run_id, status="FAILED")):
            models = [LoggedModelInput(model_id)] if model_id else None
            mlflow_client.log_inputs(run_id, datasets=[dataset_input(data)], models=models)
            now_ms = int(time.time() * 1000)
            points = [
                Metric(f"evaluation/{name}", float(value), now_ms, 0, model_id=model_id)
                for name, value in metrics.items()
            ]
            params = [Param("version", str(version.version)), Param("data", data.name)]
            mlflow_client.log_batch(run_id, metrics=points, params=params)
            mlflow_client.log_text(run_id, page, "evaluation.md")
        mlflow_client.set_terminated(run_id, status="FINISHED")
    return EvaluationRun(run_id, run_url(experiment, run_id))


def _logged_model(source: str) -> str | None:
    """Id of the logged model that a version was made of; None: somebody registered a folder by hand."""
    # The version's own field for it is empty in MLflow 3.17 when it comes from a database.
    return source.removeprefix(_LOGGED_MODEL) if source.startswith(_LOGGED_MODEL) else None
