"""Registered versions: `challenger` waits or was refused, `champion` is the one to use, `previous` was it before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from llm.errors import RegistryError
from llm.stages import file_list
from tasks.registry.aliases import CHALLENGER, CHAMPION, SINCE, move_champion, read_aliases, require_champion
from tasks.registry.connection import ALREADY_EXISTS, TAG_PREFIX, client, lock, no_retries, registry_errors
from tasks.registry.ledger import Move, person
from tasks.registry.logged_model import ModelToLog, find_logged_model, link_to_run, log_model
from tasks.registry.runs import TRAINING_KEY, TrainingRun

_METRICS = f"{TAG_PREFIX}metrics"
_BASELINES = f"{TAG_PREFIX}baselines"
_TEST_SPLIT = f"{TAG_PREFIX}test_split"
_FILES = f"{TAG_PREFIX}files"
_DECISION = f"{TAG_PREFIX}decision"
_REASONS = f"{TAG_PREFIX}reasons"
_DECIDED = f"{TAG_PREFIX}decided"
QUESTION = f"{TAG_PREFIX}question"


@dataclass(frozen=True)
class Version:
    """One registered version of a family's model, as its tags describe it."""

    family: str
    version: int
    training_key: str
    run_id: str
    test_split: str
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    files: Mapping[str, str]
    decision: str
    reasons: tuple[str, ...]
    decided: datetime | None
    created: datetime
    champion_since: datetime | None
    aliases: tuple[str, ...]
    description: str = ""  # its card

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.family}/{self.version}"

    @property
    def is_champion(self) -> bool:
        """True for the version that users get."""
        return CHAMPION in self.aliases


@dataclass(frozen=True)
class Measured:
    """What is known of a challenger when it is registered; `test_split` is the corpus stage's key.

    `intervals`: low and high of metrics, by their names.
    """

    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    test_split: str
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def points(self) -> dict[str, float]:
        """As metrics of a run, grouped by what they measure."""
        points = {f"test/{name}": value for name, value in self.metrics.items()}
        for name, (low, high) in self.intervals.items():
            points |= {f"test/{name}_low": low, f"test/{name}_high": high}
        for baseline, values in self.baselines.items():
            points |= {f"baseline/{baseline}/{name}": value for name, value in values.items()}
        return points

    def tags(self) -> dict[str, str]:
        """As tags of a version."""
        return {
            _METRICS: json.dumps(dict(self.metrics)),
            _BASELINES: json.dumps({name: dict(values) for name, values in self.baselines.items()}),
            _TEST_SPLIT: self.test_split,
        }


def champion(family: str) -> Version | None:
    """The family's champion, if it has one."""
    with registry_errors(f"looking for the champion of {family}"):
        return _champion(client(), family)


def list_champions() -> list[Version]:
    """The champions of all families, by name."""
    with registry_errors("listing the champions"):
        mlflow_client = client()
        names = sorted(model.name for model in mlflow_client.search_registered_models())
        return [found for name in names if (found := _champion(mlflow_client, name))]


def find_version(family: str, training_key: str) -> Version | None:
    """The registered version of a training key, if there is one."""
    with registry_errors(f"looking for a version of {family}"):
        return _find(client(), family, training_key)


def register(run: TrainingRun, model: ModelToLog, measured: Measured, *, step: int) -> Version:
    """Log the model and register it as the family's challenger; a second call with the same training key adds nothing.

    Raises RegistryError when MLflow refuses or cannot be reached, or has a version of the same key and other weights.
    """
    run_id = run.open()
    files = {name: entry["sha256"] for name, entry in file_list(model.folder).items()}
    tags = {TRAINING_KEY: model.training_key, _FILES: json.dumps(files), **measured.tags()}
    with registry_errors(f"registering the {model.family} model"), lock(model.family):
        mlflow_client = client()
        found = _find(mlflow_client, model.family, model.training_key)
        if found is None:
            experiment = mlflow_client.get_run(run_id).info.experiment_id
            model_id = find_logged_model(mlflow_client, experiment, model.training_key)
            if model_id is None:
                model_id = log_model(mlflow_client, experiment, run_id, model)
            link_to_run(mlflow_client, model_id, run_id, step=step)
            run.log_results(measured.points(), step=step, model_id=model_id)
            found = _create(mlflow_client, model, model_id=model_id, run_id=run_id, tags=tags)
        _require_same_weights(found, files)
        for name, value in measured.tags().items():
            mlflow_client.set_model_version_tag(model.family, str(found.version), name, value)
        if not found.is_champion:
            mlflow_client.set_registered_model_alias(model.family, CHALLENGER, str(found.version))
        return get_version(mlflow_client, model.family, found.version)


def promote(
    challenger: Version,
    *,
    over: Version | None,
    reasons: tuple[str, ...],
    description: str,
    p_value: float | None = None,
    level: float | None = None,
    who: str | None = None,
) -> Version:
    """Make `challenger` the champion in place of `over`, the champion that it was compared with (None: there was none).

    `p_value` and `level` of that comparison go into the ledger, and `who` decided (None: this user on this machine).

    Raises RegistryError when the champion is another one by now.
    """
    family, number = challenger.family, challenger.version
    meanwhile = f"version {number} was compared with version {over.version if over else 'none'}"
    with registry_errors(f"promoting {family} version {number}"), lock(family):
        mlflow_client = client()
        require_champion(mlflow_client, family, over.version if over else None, meanwhile=meanwhile)
        _describe(mlflow_client, challenger, decision="promoted", reasons=reasons, description=description)
        move = Move("promoted", reasons, who or person(), p_value=p_value, level=level)
        move_champion(mlflow_client, family, number, move)
        return get_version(mlflow_client, family, number)


def leave(challenger: Version, *, decision: str, reasons: tuple[str, ...], description: str) -> Version:
    """Leave `challenger` a registered version with the `decision` and the reasons why it did not become champion."""
    with registry_errors(f"tagging {challenger.family} version {challenger.version}"), lock(challenger.family):
        mlflow_client = client()
        _describe(mlflow_client, challenger, decision=decision, reasons=reasons, description=description)
        return get_version(mlflow_client, challenger.family, challenger.version)


def _champion(mlflow_client: MlflowClient, family: str) -> Version | None:
    number = read_aliases(mlflow_client, family).champion
    return get_version(mlflow_client, family, number) if number is not None else None


def _find(mlflow_client: MlflowClient, family: str, training_key: str) -> Version | None:
    numbers = tagged(mlflow_client, family, TRAINING_KEY, training_key)
    # A lost reply can have made two; the first is the one.
    return get_version(mlflow_client, family, numbers[0]) if numbers else None


def tagged(mlflow_client: MlflowClient, family: str, tag: str, value: str) -> list[int]:
    """Numbers of the versions that carry a tag, oldest first."""
    found = mlflow_client.search_model_versions(f"name = '{family}' and tags.`{tag}` = '{value}'")
    return sorted(int(version.version) for version in found)


def get_version(mlflow_client: MlflowClient, family: str, number: int) -> Version:
    """A version by its number; MLflow raises when there is none."""
    return _read(mlflow_client.get_model_version(family, str(number)))


def _read(found: ModelVersion) -> Version:
    tags = found.tags
    return Version(
        family=found.name,
        version=int(found.version),
        # A version that somebody registered by hand has no key; its folders need a name of their own all the same.
        training_key=tags.get(TRAINING_KEY) or f"version-{found.version}-{found.creation_timestamp}",
        run_id=found.run_id or "",
        test_split=tags.get(_TEST_SPLIT, ""),
        metrics=_mapping(tags, _METRICS),
        baselines=_mapping(tags, _BASELINES),
        files=_mapping(tags, _FILES),
        decision=tags.get(_DECISION, ""),
        reasons=tuple(tags.get(_REASONS, "").splitlines()),
        decided=_time(tags, _DECIDED),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
        champion_since=_time(tags, SINCE),
        aliases=tuple(found.aliases),
        description=found.description or "",
    )


def _mapping(tags: Mapping[str, str], name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(tags.get(name, "{}"))
    return values


def _time(tags: Mapping[str, str], name: str) -> datetime | None:
    return datetime.fromisoformat(tags[name]) if name in tags else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _require_same_weights(found: Version, files: Mapping[str, str]) -> None:
    """The figures of one training must never be written to the weights of another."""
    here, there = (
        {name: sha for name, sha in each.items() if name.endswith(".safetensors")} for each in (files, found.files)
    )
    if there and here != there:
        raise RegistryError(
            f"{found.family} version {found.version} came from the same training, {found.training_key}, and has other "
            "weights: on another processor, or when time ends it, a training ends in others",
            remedy="go on in the home that it was trained in, or set another training.seed, which makes a new version",
        )


def _create(
    mlflow_client: MlflowClient, model: ModelToLog, *, model_id: str, run_id: str, tags: Mapping[str, str]
) -> Version:
    _ensure_registered_model(mlflow_client, model.family)
    failure: Exception | None = None
    try:
        # Each repetition of this request would make a version.
        with no_retries():
            mlflow_client.create_model_version(
                model.family, f"models:/{model_id}", run_id=run_id, tags=dict(tags), model_id=model_id
            )
    except (MlflowException, OSError) as error:
        # The reply may be lost and the version made all the same.
        failure = error
    found = _find(mlflow_client, model.family, model.training_key)
    if found is None:
        raise RegistryError(
            f"no version of {model.family} was made: {failure}", remedy="run again: the logged model is kept"
        ) from failure
    return found


def _ensure_registered_model(mlflow_client: MlflowClient, family: str) -> None:
    if mlflow_client.search_registered_models(f"name = '{family}'"):
        return
    try:
        mlflow_client.create_registered_model(family, description=f"Nightshift's models of the family {family}")
    except MlflowException as error:
        if error.error_code != ALREADY_EXISTS:
            raise


def _describe(
    mlflow_client: MlflowClient, version: Version, *, decision: str, reasons: tuple[str, ...], description: str
) -> None:
    number = str(version.version)
    # The note goes first: a night that is cut off between here and `remember_answer` has decided nothing.
    tags = {QUESTION: "open", _DECISION: decision, _REASONS: "\n".join(reasons), _DECIDED: _now()}
    for name, value in tags.items():
        mlflow_client.set_model_version_tag(version.family, number, name, value)
    mlflow_client.update_model_version(version.family, number, description)
