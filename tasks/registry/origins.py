"""Where a registered version came from, out of MLflow alone: recipe, stages with their hashes, environment, runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from llm.environment import ENVIRONMENT_FILE
from llm.errors import RegistryError
from llm.files import read_json, temporary_folder
from llm.home import scratch_folder
from llm.model.config import WEIGHTS_FILE
from tasks.lineage import LINEAGE_FILE
from tasks.registry.connection import client, registry_errors
from tasks.registry.logged_model import MODEL_PATH
from tasks.registry.runs import TRAINING_KEY
from tasks.registry.versions import Version, get_version

# What the folder of a model says of itself: `llm.model.folder`, which needs torch.
_DESCRIPTION = "nightshift.json"


@dataclass(frozen=True)
class Origin:
    """All that MLflow keeps of how a version was made.

    `description` is nightshift.json of its folder: the whole recipe, and what a successor needs. `stages` are the
    manifests by `<stage name>/<key>`, `environment` is empty where none was recorded.
    """

    version: Version
    description: Mapping[str, Any]
    stages: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Any]
    tags: Mapping[str, str]

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The options that it was trained with, all of them."""
        recipe: Mapping[str, Any] = self.description["recipe"]
        return recipe

    @property
    def training(self) -> Mapping[str, Any]:
        """The manifest of its training."""
        return self._stage(self.version.training_key)

    @property
    def tokens(self) -> Mapping[str, Any]:
        """The manifest of its token tables."""
        return self._stage(self.training["inputs"]["tokens"])

    @property
    def tokenizer(self) -> Mapping[str, Any]:
        """The manifest of its tokenizer, or of the pretrained model that brought it."""
        return self._stage(self.training["inputs"]["tokenizer"])

    @property
    def corpus(self) -> Mapping[str, Any]:
        """The manifest of its corpus."""
        return self._stage(self.tokens["inputs"]["corpus"])

    @property
    def start(self) -> str | None:
        """The weights that its training went on from; None: it started fresh."""
        start: str | None = self.training["inputs"].get("start")
        return start

    @property
    def sources(self) -> dict[str, dict[str, str]]:
        """SHA-256 by name of what each part of the corpus was read from; of a part that was not recorded, nothing."""
        return {
            part: dict(self.stages.get(f"shard/{key}", {}).get("inputs", {}))
            for part, key in self.corpus["inputs"].items()
        }

    def _stage(self, key: str) -> Mapping[str, Any]:
        found = [manifest for manifest in self.stages.values() if manifest["key"] == key]
        if not found:
            raise RegistryError(
                f"{self.version.uri}: its {LINEAGE_FILE} does not hold the stage {key}",
                remedy="its stage folder was deleted before the version was registered; train again",
            )
        return found[0]


def origin_of(version: Version) -> Origin:
    """What MLflow knows of a version's origin.

    Raises RegistryError when MLflow cannot be reached, or when the version was not made by a training of ours.
    """
    with registry_errors(f"reading where {version.family} version {version.version} came from"):
        mlflow_client = client()
        run = mlflow_client.get_run(version.run_id) if version.run_id else None
        names = {entry.path for entry in mlflow_client.list_artifacts(version.run_id)} if run else set()
        if run is None or LINEAGE_FILE not in names or TRAINING_KEY not in run.data.tags:
            raise RegistryError(
                f"{version.uri}: no {LINEAGE_FILE} was logged with it", remedy="name a version that Nightshift trained"
            )
        with temporary_folder(scratch_folder(), prefix="nightshift-") as temporary:
            folder = Path(temporary)
            known = ENVIRONMENT_FILE in names
            return Origin(
                version=version,
                description=read_json(_fetch(f"{version.uri}/{MODEL_PATH}/{_DESCRIPTION}", folder)),
                stages=_of_run(mlflow_client, version, LINEAGE_FILE, folder),
                environment=_of_run(mlflow_client, version, ENVIRONMENT_FILE, folder) if known else {},
                tags=dict(run.data.tags),
            )


def version_of_start(origin: Origin) -> Version | None:
    """The version whose weights the training of `origin` went on from; None: it started fresh.

    Raises RegistryError when no version has these weights.
    """
    if origin.start is None:
        return None
    family = origin.version.family
    with registry_errors(f"looking for the weights {origin.start} of {family}"):
        mlflow_client = client()
        numbers = sorted(int(version.version) for version in mlflow_client.search_model_versions(f"name = '{family}'"))
        versions = (get_version(mlflow_client, family, number) for number in numbers)
        found = next((version for version in versions if _weights(version).startswith(origin.start)), None)
    if found is None:
        raise RegistryError(
            f"{origin.version.uri} went on from the weights {origin.start}, which no version of {family} has",
            remedy=f"restore the version that was deleted: the SHA-256 of its {WEIGHTS_FILE} begins with these digits",
        )
    return found


def _weights(version: Version) -> str:
    return version.files.get(WEIGHTS_FILE, "")


def _of_run(mlflow_client: MlflowClient, version: Version, name: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(Path(mlflow_client.download_artifacts(version.run_id, name, str(folder))))
    return found


def _fetch(uri: str, folder: Path) -> Path:
    return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))
