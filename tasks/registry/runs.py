"""One MLflow run a training: found again by its key, opened when there is something to write, always closed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from llm.errors import RegistryError
from llm.files import temporary_folder
from llm.home import scratch_folder
from tasks.registry.abandoned import close_abandoned_runs, process_tags, taking_over
from tasks.registry.connection import (
    ALREADY_EXISTS,
    TAG_PREFIX,
    artifacts_uri,
    client,
    is_served,
    no_retries,
    registry_errors,
    run_url,
)
from tasks.registry.metrics import MetricBuffer
from tasks.registry.patience import impatient
from tasks.registry.spool import spool_of

TRAINING_KEY = f"{TAG_PREFIX}training_key"
FLOW_RUN_ID = f"{TAG_PREFIX}flow_run_id"
FLOW_RUN_URL = f"{TAG_PREFIX}flow_run_url"
ROOT_FLOW_RUN_ID = f"{TAG_PREFIX}root_flow_run_id"
GIT_COMMIT = "mlflow.source.git.commit"
UNCOMMITTED_CHANGES = f"{TAG_PREFIX}uncommitted_changes"
_LARGEST_PARAMS = 100
_LONGEST_PARAM = 6000
_LAST_ATTEMPT_S = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetRecord:
    """Lineage of the data: the corpus by name, its stage key as the digest, and where it was read from."""

    name: str
    digest: str
    source: str
    context: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingIdentity:
    """What a training's run is called and says from the start. `params` may nest; it is flattened with dots."""

    family: str
    training_key: str
    params: Mapping[str, Any]
    datasets: tuple[DatasetRecord, ...]
    tags: Mapping[str, str]


class TrainingRun:
    """A training's run. Nothing is created or changed before `open`; then `training_run` closes it."""

    def __init__(self, identity: TrainingIdentity) -> None:
        self._identity = identity
        self._client = client()
        self._experiment_id = experiment_id(self._client, identity.family)
        run = find_run(self._client, self._experiment_id, TRAINING_KEY, identity.training_key)
        self._run_id: str | None = run.info.run_id if run else None
        # True of what was interrupted, or killed after its version was promoted.
        self.unfinished = run is not None and run.info.status != "FINISHED"
        self.opened = False

    @property
    def run_id(self) -> str | None:
        """MLflow's id; None until a first training opens the run."""
        return self._run_id

    @property
    def url(self) -> str | None:
        """The run's page; None before it exists, or where no MLflow server shows pages."""
        return run_url(self._experiment_id, self._run_id) if self._run_id else None

    def open(self) -> str:
        """Create the run, or continue the one that an interrupted training of the same key left; returns its id."""
        if self._run_id is not None and self.opened:
            return self._run_id
        with registry_errors("opening the training's run"):
            if self._run_id is None:
                key = self._identity.training_key
                name = f"{self._identity.family}-{key}"
                self._run_id = create_run(self._client, self._experiment_id, name, key=(TRAINING_KEY, key), tags={})
            else:
                with taking_over(self._client, self._run_id):
                    self._client.update_run(self._run_id, status="RUNNING")
            # From here on the run is closed whatever happens.
            self.opened = True
            self._describe(self._run_id)
        return self._run_id

    def _describe(self, run_id: str) -> None:
        self._client.log_batch(run_id, tags=[RunTag(name, value) for name, value in self._identity.tags.items()])
        run = self._client.get_run(run_id)
        if run.inputs is None or not run.inputs.dataset_inputs:
            self._client.log_inputs(run_id, datasets=[dataset_input(record) for record in self._identity.datasets])
        self._log_params(run)

    def _log_params(self, run: Run) -> None:
        # A param cannot be changed; what the run already holds belongs to the same training key.
        new = [
            Param(name, text[:_LONGEST_PARAM])
            for name, text in flatten(self._identity.params).items()
            if name not in run.data.params
        ]
        for start in range(0, len(new), _LARGEST_PARAMS):
            self._client.log_batch(run.info.run_id, params=new[start : start + _LARGEST_PARAMS])

    def close(self, status: str) -> None:
        """End the run as FINISHED or FAILED, if it was opened."""
        if self._run_id and self.opened:
            with registry_errors("closing the training's run"):
                self._client.set_terminated(self._run_id, status=status)
            self.opened = False

    def log_page(self, name: str, page: str) -> None:
        """Keep an HTML page among the run's artifacts, if the run was opened."""
        if self._run_id and self.opened:
            with registry_errors(f"logging {name}"):
                self._client.log_text(self._run_id, page, name)

    def log_results(self, metrics: Mapping[str, float], *, step: int, model_id: str | None = None) -> None:
        """Metrics of the finished model; `model_id` shows them on the logged model too."""
        now_ms = int(time.time() * 1000)
        points = [Metric(name, float(value), now_ms, step, model_id=model_id) for name, value in metrics.items()]
        with registry_errors("taking test metrics"):
            self._client.log_batch(self.open(), metrics=points)

    def log_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep `value` as the artifact `name`."""
        with registry_errors(f"storing {name}"):
            self._client.log_dict(self.open(), dict(value), name)

    def log_files(self, files: Mapping[str, bytes | Path], *, folder: str) -> None:
        """Keep files, by name, in a folder of the run's artifacts: what is there under the same names is replaced."""
        with (
            registry_errors(f"storing {folder}"),
            temporary_folder(scratch_folder(), prefix="nightshift-") as temporary,
        ):
            for name, content in files.items():
                data = content if isinstance(content, bytes) else content.read_bytes()
                (Path(temporary) / name).write_bytes(data)
            self._client.log_artifacts(self.open(), temporary, folder)

    def metrics(self) -> MetricBuffer:
        """A buffer for the curve; it opens the run with its first points."""
        return MetricBuffer(self._client, self.open, spool=spool_of(self._identity.training_key))

    def note(self, markdown: str) -> None:
        """Put a text on top of the run's page, above the link to the Prefect flow run."""
        link = self._identity.tags.get(FLOW_RUN_URL) or self._identity.tags.get(FLOW_RUN_ID)
        text = f"{markdown}\n\nPrefect flow run: {link}" if link else markdown
        with registry_errors("writing the run's note"):
            self._client.set_tag(self.open(), "mlflow.note.content", text)


@contextmanager
def training_run(identity: TrainingIdentity) -> Iterator[TrainingRun]:
    """The run of a training, closed as FINISHED, or as FAILED whatever went wrong (a cancellation included)."""
    with registry_errors("looking for the training's run"):
        run = TrainingRun(identity)
        close_abandoned_runs([identity.family])
    with closed_if_it_fails(lambda: run.close("FAILED")):
        yield run
    run.close("FINISHED")


@contextmanager
def closed_if_it_fails(close: Callable[[], object]) -> Iterator[None]:
    """Whatever goes wrong in here (a cancellation included) is raised after `close`, which must not take long."""
    try:
        yield
    except BaseException:
        try:
            with impatient(timeout_s=_LAST_ATTEMPT_S), registry_errors("closing the run"):
                close()
        except RegistryError as error:
            # What went wrong first is the error to hear about; `tasks.registry.abandoned` closes what is left open.
            log.warning("%s", error.problem)
        raise


def create_run(
    mlflow_client: MlflowClient, experiment: str, name: str, *, key: tuple[str, str], tags: Mapping[str, str]
) -> str:
    """Create a run of this process, which the tag `key` (name, value) tells from all others; returns its id."""
    for last in (False, True):
        try:
            # Each repetition of this request would make a run, of which all but one stay RUNNING for ever.
            with no_retries():
                # From its first moment on it says whose it is: who is killed now leaves it to be closed.
                told = {key[0]: key[1], **process_tags(), **tags}
                run: Run = mlflow_client.create_run(experiment, run_name=name, tags=told)
            return str(run.info.run_id)
        except (MlflowException, OSError):
            # The reply may be lost and the run made all the same.
            found = find_run(mlflow_client, experiment, *key)
            if found is not None:
                return str(found.info.run_id)
            if last:
                raise
    raise AssertionError("the second attempt returns or raises")


def experiment_id(mlflow_client: MlflowClient, family: str) -> str:
    """The experiment that holds a family's runs; it has the family's name."""
    found = mlflow_client.get_experiment_by_name(family)
    if found is None:
        location = None if is_served() else f"{artifacts_uri().rstrip('/')}/{family}"
        try:
            return str(mlflow_client.create_experiment(family, artifact_location=location))
        except MlflowException as error:
            # Another process was faster.
            if error.error_code != ALREADY_EXISTS:
                raise
            found = mlflow_client.get_experiment_by_name(family)
    if found is None:
        raise RegistryError(f"the experiment {family!r} cannot be created", remedy="if it was deleted, restore it")
    return str(found.experiment_id)


def find_run(mlflow_client: MlflowClient, experiment: str, tag: str, value: str) -> Run | None:
    """The run whose `tag` has that value, as of a training key; the oldest, should there be more than one."""
    runs = mlflow_client.search_runs(
        [experiment], f"tags.`{tag}` = '{value}'", order_by=["attributes.start_time ASC"], max_results=1
    )
    return runs[0] if runs else None


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested options as MLflow params: `{"training": {"steps": 100}}` is `{"training.steps": "100"}`."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = str(value)
    return flat


def dataset_input(record: DatasetRecord) -> DatasetInput:
    """A record of data as an input of a run."""
    dataset = Dataset(
        name=record.name,
        digest=record.digest,
        source_type="nightshift",
        source=record.source,
        profile=", ".join(f"{name}: {value}" for name, value in record.facts.items()),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", record.context)])
