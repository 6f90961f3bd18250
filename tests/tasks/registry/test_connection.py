"""What MLflow's failures are told as."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from llm.errors import RegistryError
from tasks.registry.connection import registry_errors

AUTOFLUSH = (
    "(raised as a result of Query-invoked autoflush; consider using a session.no_autoflush block)\n"
    "(sqlite3.OperationalError) database or disk is full\n[SQL: INSERT INTO tags]"
)
LISTED = "The following failures occurred while downloading:\n##### File model/x #####\nno such file\nmore"


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (MlflowException(AUTOFLUSH), "(sqlite3.OperationalError) database or disk is full"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (OSError(), "OSError"),
        (MlflowException("no such version\nand a long story"), "no such version"),
        (MlflowException(LISTED), "The following failures occurred while downloading: File model/x no such file"),
    ],
)
def test_the_line_that_says_what_happened_is_told_with_what_was_being_done_and_where(raised, told) -> None:
    with pytest.raises(RegistryError) as caught, registry_errors("taking metrics"):
        raise raised
    assert caught.value.problem.startswith("MLflow at sqlite:////")
    assert caught.value.problem.endswith(f"failed while taking metrics: {told}")
    assert "that its disk has space" in caught.value.remedy


def test_a_full_disk_is_named_where_mlflow_speaks_of_a_file_that_cannot_be_copied(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "model.py").write_text("x = 1")

    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    def log_model() -> None:
        try:
            shutil.copytree(tmp_path / "code", tmp_path / "copy", copy_function=full)
        except OSError as error:
            raise MlflowException("Failed to copy the specified code path") from error

    with pytest.raises(RegistryError) as caught, registry_errors("registering the model"):
        log_model()
    expected = "failed while registering the model: No space left on device: Failed to copy the specified code path"
    assert caught.value.problem.endswith(expected)
