"""What MLflow raises becomes one line."""

from __future__ import annotations

import pytest
from mlflow.exceptions import MlflowException

from llm.errors import RegistryError
from tasks.registry.connection import registry_errors


def said(error: Exception) -> str:
    with pytest.raises(RegistryError) as raised, registry_errors("asking"):
        raise error
    assert "\n" not in raised.value.problem
    return raised.value.problem


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MlflowException("no such version\nand a long story"), "while asking: no such version"),
        (OSError(28, "No space left on device", "/x"), "while asking: [Errno 28] No space left on device: '/x'"),
        (MlflowException(""), "while asking: MlflowException"),
    ],
    ids=["mlflow", "system", "silent"],
)
def test_the_reason_is_the_first_line(error, reason):
    assert said(error).endswith(reason)


def test_of_a_list_the_first_entry_is_told_too():
    listed = (
        "The following failures occurred while downloading from here:\n##### File model/x #####\nno such file\nmore"
    )
    ending = "while downloading from here: File model/x no such file"
    assert said(MlflowException(listed)).endswith(ending)
