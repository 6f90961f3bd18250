"""MLflow away for a while: what a flow asks of it is asked again, for as long as the flow's patience lasts.

Commands of a terminal have none: they fail at once, and a person reads why.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from llm.errors import RegistryAwayError
from tasks.registry.config import PATIENCE

# Each repetition of these makes one more; whoever calls them looks first whether it is there after all.
_MADE_ONCE = frozenset({"create_run", "create_logged_model", "create_model_version"})
# What MLflow's server answers when its database is locked, and proxies when it is not there.
_AWAY_CODES = frozenset({"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"})
_AWAY_ANSWERS = ("429", "502", "503", "504")
_ATTEMPT_S = 30
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 15.0
_TOLD_EVERY_S = 60.0
_RETRIES, _TIMEOUT = "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"

log = logging.getLogger(__name__)
T = TypeVar("T")
# Waits so many seconds; a signal ends it.
Wait = Callable[[float], object]


@dataclass(frozen=True)
class _Patience:
    seconds: float
    clock: Callable[[], float]
    wait: Wait


_patience: ContextVar[_Patience | None] = ContextVar("patience", default=None)


@contextmanager
def patience(
    minutes: float = PATIENCE, *, clock: Callable[[], float] = time.monotonic, wait: Wait | None = None
) -> Iterator[None]:
    """In here, requests to an MLflow that is away wait for it, each for at most so many minutes."""
    token = _patience.set(_Patience(60 * minutes, clock, wait or threading.Event().wait) if minutes else None)
    try:
        yield
    finally:
        _patience.reset(token)


@contextmanager
def impatient(*, timeout_s: int) -> Iterator[None]:
    """In here, a request is made once, and an answer awaited for at most so many seconds."""
    token = _patience.set(None)
    try:
        with _one_attempt(timeout_s):
            yield
    finally:
        _patience.reset(token)


def patiently(do: Callable[[], T]) -> T:
    """What `do` returns, which must be safe to repeat; it is repeated while MLflow is away and patience lasts.

    Raises RegistryAwayError when patience is over, and at once what is no outage.
    """
    now = _patience.get()
    if now is None:
        return do()
    outage: _Outage | None = None
    while True:
        try:
            with _one_attempt(_ATTEMPT_S):
                found = do()
        except (MlflowException, OSError) as error:
            if not is_away(error):
                raise
            outage = outage or _Outage(now, error)
            outage.endure(error)
            continue
        if outage is not None:
            log.warning("MLflow is back after %.0f s", now.clock() - outage.begun)
        return found


def patient(client: MlflowClient) -> MlflowClient:
    """The same client, whose requests are patient."""
    return cast(MlflowClient, _PatientClient(client))


def is_away(error: BaseException) -> bool:
    """True for a failure that time may heal: nobody answers, or not in time, or the database is locked."""
    behind = error.__cause__ or error.__context__
    if isinstance(error, MlflowException):
        if error.error_code in _AWAY_CODES:
            # Of a database that we hold ourselves; a full disk has the same code, and is no matter of waiting.
            return "disk" not in str(error) and "readonly" not in str(error)
        return behind is not None and is_away(behind)
    if isinstance(error, requests.exceptions.RetryError):
        return any(answer in str(error) for answer in _AWAY_ANSWERS)
    return isinstance(error, (requests.exceptions.ConnectionError, requests.exceptions.Timeout, ConnectionError))


class _PatientClient:
    def __init__(self, real: MlflowClient) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)
        if not callable(method):
            return method

        @functools.wraps(method)
        def request(*args: Any, **values: Any) -> Any:
            if name not in _MADE_ONCE:
                return patiently(lambda: method(*args, **values))
            if _patience.get() is None:
                return method(*args, **values)
            # It is there, so that the one request is not wasted.
            patiently(lambda: self._real.search_experiments(max_results=1))
            with _one_attempt(_ATTEMPT_S):
                return method(*args, **values)

        return request


class _Outage:
    """One absence of MLflow, from the first failure on."""

    def __init__(self, patience: _Patience, error: Exception) -> None:
        self._patience = patience
        self._pause = _FIRST_PAUSE_S
        self.begun = self._told = patience.clock()
        log.warning("MLflow is away (%s); waiting up to %.3g minutes for it", first_line(error), patience.seconds / 60)

    def endure(self, error: Exception) -> None:
        """Wait a little before the next attempt, or raise RegistryAwayError."""
        patience, now = self._patience, self._patience.clock()
        left = patience.seconds - (now - self.begun)
        if left <= 0:
            raise RegistryAwayError(
                f"MLflow has been away for {(now - self.begun) / 60:.3g} minutes: {first_line(error)}",
                remedy="bring MLflow back and run again: finished work is kept, and so are the metrics that wait; "
                "registry.patience is how long a night waits",
            ) from error
        if now - self._told >= _TOLD_EVERY_S:
            self._told = now
            log.warning("MLflow is still away, after %.0f s", now - self.begun)
        patience.wait(min(self._pause, left))
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


@contextmanager
def _one_attempt(timeout_s: int) -> Iterator[None]:
    """MLflow's own repetitions are silent, and its timeout is two minutes."""
    wanted = {_RETRIES: "0", _TIMEOUT: str(timeout_s)}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
