"""The nightly flow: every family, one after the other; one family's failure does not stop the others."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.logging import get_run_logger

from flows.configuration import NightlyConfig
from flows.hooks import close_mlflow_runs
from flows.retrain import retrain
from llm.errors import NightshiftError


@flow(
    name="nightly",
    on_crashed=[close_mlflow_runs],
    on_cancellation=[close_mlflow_runs],
    persist_result=False,
    result_serializer="json",
)
def nightly(config: NightlyConfig) -> dict[str, Any]:
    """Retrain all families of the configuration.

    Raises NightshiftError at the end that names the families that failed.
    """
    summaries: list[dict[str, Any]] = []
    failures: dict[str, Exception] = {}
    for one in config.families:
        try:
            summaries.append(retrain(one))
        except Exception as error:  # whatever it is, the other families still have the night
            if was_stopped(error):
                raise
            failures[one.family] = error
            get_run_logger().error("%s failed: %s", one.family, error)
    if failures:
        done = ", ".join(summary["family"] for summary in summaries) or "none"
        raise _failure(failures, done=done) from next(iter(failures.values()))
    return {"families": summaries}


def was_stopped(error: BaseException | None) -> bool:
    """True when `error` came up while an interruption or a termination was being handled.

    Ctrl-C reaches the embedded server too, and what Prefect then raises is that it cannot reach it any more.
    """
    while error is not None:
        if not isinstance(error, Exception):
            return True
        error = error.__cause__ or error.__context__
    return False


def _failure(failures: dict[str, Exception], *, done: str) -> NightshiftError:
    lines = [f"{len(failures)} of the families failed (finished: {done})"]
    lines += [f"{family}: {getattr(error, 'problem', error)}" for family, error in failures.items()]
    remedies = dict.fromkeys(
        str(getattr(error, "remedy", "see the log of its flow run")) for error in failures.values()
    )
    return NightshiftError("\n".join(lines), remedy="; ".join(remedies))
