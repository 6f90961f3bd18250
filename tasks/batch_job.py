"""A batch prediction with a registered version: found once, fetched, checked, and never mixed with another."""

from __future__ import annotations

from llm.batch_prediction.config import BatchConfig
from llm.batch_prediction.job import BatchJob, Report
from llm.batch_prediction.work import ModelName, unfinished_model
from llm.home import downloads_folder
from llm.predictor import Predictor
from tasks.registry.folders import champion_folder
from tasks.registry.moves import find_reference
from tasks.registry.versions import Version


def pin(family: str, reference: str, config: BatchConfig) -> Version:
    """The version that a job is done with: `reference` is a number or an alias, which is looked up once.

    A job that was cut off goes on with the version that its alias named when it began, whoever has it by now.

    Raises RegistryError when there is no such version.
    """
    begun = None if config.start_anew else unfinished_model(config.output)
    if begun is not None and (begun.family, begun.reference) == (family, reference):
        return find_reference(family, begun.version)
    return find_reference(family, reference)


def predict_rows(version: Version, reference: str, config: BatchConfig) -> Report:
    """Look at input and output, then fetch the model, check its SHA-256 sums and predict.

    Raises ConfigError, CorpusError, DownloadError or StageError before any work, ChecksumError when a file of the model
    is not the one that was registered.
    """
    name = ModelName(version.family, str(version.version), version.training_key, reference)
    with BatchJob(config, name, downloads=downloads_folder()) as job:
        return job.run(Predictor.load(champion_folder(version)))
