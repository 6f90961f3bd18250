"""What is tried again, and what is the same the second time."""

from __future__ import annotations

import pytest
from prefect.states import Failed

from llm.errors import (
    ChecksumError,
    CorpusError,
    DownloadError,
    KilledError,
    MemoryShortageError,
    RegistryAwayError,
    RegistryError,
    StageError,
)
from tasks.retries import AFTER_DOWNLOAD, AFTER_KILL, AFTER_MLFLOW, AFTER_SERVERS, Retries


def again(retries: Retries, kind: type[Exception]) -> bool:
    failure = kind("something failed", remedy="look at it")  # type: ignore[call-arg]
    return retries["retry_condition_fn"](None, None, Failed(data=failure))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("retries", "kind"),
    [
        (AFTER_DOWNLOAD, DownloadError),
        (AFTER_MLFLOW, RegistryError),
        (AFTER_SERVERS, DownloadError),
        (AFTER_SERVERS, RegistryError),
        (AFTER_KILL, KilledError),
    ],
)
def test_what_time_may_heal_is_tried_again(retries: Retries, kind: type[Exception]) -> None:
    assert again(retries, kind)
    assert retries["retries"] == len(retries["retry_delay_seconds"]) > 0


@pytest.mark.parametrize(
    ("retries", "kind"),
    [
        (AFTER_DOWNLOAD, ChecksumError),
        (AFTER_DOWNLOAD, CorpusError),
        (AFTER_KILL, StageError),
        (AFTER_KILL, MemoryShortageError),
        # It was waited for, for as long as `registry.patience` says.
        (AFTER_MLFLOW, RegistryAwayError),
        (AFTER_SERVERS, RegistryAwayError),
    ],
)
def test_what_stays_as_it_is_fails_at_once(retries: Retries, kind: type[Exception]) -> None:
    assert not again(retries, kind)
