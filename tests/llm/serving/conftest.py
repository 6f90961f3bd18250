"""What the tests of the server share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from watched import Watched

from llm.predictor import Predictor


@pytest.fixture(scope="session")
def generator_folder(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("generation")


@pytest.fixture
def watched(generator_folder: Path) -> Watched:
    return Watched(**vars(Predictor.load(generator_folder, device="cpu")))
