"""A toy classifier, and a job with it in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy_jobs import MODEL

from llm.batch_prediction.config import BatchConfig
from llm.batch_prediction.job import BatchJob, Report
from llm.batch_prediction.work import ModelName
from llm.predictor import Predictor
from llm.stages import Stage


@pytest.fixture(scope="session")
def predictor(toy_training: Stage) -> Predictor:
    return Predictor.load(toy_training.path / "model", device="cpu")


@pytest.fixture
def predict(predictor: Predictor, tmp_path: Path) -> Callable[..., Report]:
    """Runs a job in `tmp_path`; files are named without it."""

    def run(source: str, output: str, *, model: ModelName = MODEL, **options: Any) -> Report:
        places = [name if ":" in name else str(tmp_path / name) for name in (source, output)]
        config = BatchConfig(input=places[0], output=places[1], **options)
        with BatchJob(config, model, downloads=tmp_path / "downloads") as job:
            return job.run(predictor)

    return run
