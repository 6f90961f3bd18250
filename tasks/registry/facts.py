"""All that the registry knows of a version, by name, to be laid beside another's."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.artifacts import list_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from tasks.registry.connection import NOT_FOUND, client, registry_errors
from tasks.registry.logged_model import MODEL_PATH
from tasks.registry.runs import GIT_COMMIT
from tasks.registry.versions import Version


def facts_of(version: Version) -> dict[str, str]:
    """Decision, figures, size, then code, data and options out of the version's run, where it has one.

    Raises RegistryError when MLflow cannot be reached.
    """
    with registry_errors(f"reading {version.family} version {version.version}"):
        mlflow_client = client()
        facts = {
            "decision": version.decision or "none",
            **{f"test/{name}": f"{value:.6g}" for name, value in version.metrics.items()},
            "model size": f"{size_of(f'{version.uri}/{MODEL_PATH}'):,} bytes",
        }
        return facts | (dict(_facts_of_run(mlflow_client, version.run_id)) if version.run_id else {})


def option_of(version: Version, name: str) -> str | None:
    """The text of an option that a version was trained with; None where its run is gone, or does not hold it.

    Raises RegistryError when MLflow cannot be reached.
    """
    with registry_errors(f"reading {version.family} version {version.version}"):
        try:
            run = client().get_run(version.run_id) if version.run_id else None
        except MlflowException as error:
            if error.error_code != NOT_FOUND:
                raise
            return None
        return run.data.params.get(name) if run else None


def size_of(artifact_uri: str) -> int:
    """Bytes of all files in a folder of artifacts."""
    found = list_artifacts(artifact_uri=artifact_uri)
    # A path comes back relative to the root of the artifacts: the last part is what leads on from here.
    return sum(
        size_of(f"{artifact_uri}/{entry.path.rpartition('/')[2]}") if entry.is_dir else entry.file_size or 0
        for entry in found
    )


def _facts_of_run(mlflow_client: MlflowClient, run_id: str) -> Iterator[tuple[str, str]]:
    run: Run = mlflow_client.get_run(run_id)
    if GIT_COMMIT in run.data.tags:
        yield "git commit", run.data.tags[GIT_COMMIT]
    for given in run.inputs.dataset_inputs if run.inputs else []:
        dataset = given.dataset
        yield f"data {dataset.name}", f"{dataset.digest}, {dataset.profile}" if dataset.profile else dataset.digest
    yield from sorted(run.data.params.items())
