"""The nightly flow: every family, one after the other; one family's failure does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.configuration import NightlyConfig
from flows.hooks import close_mlflow_runs, end_inner_runs
from flows.nights import SKIPPED
from flows.retrain import retrain
from flows.this_night import this_night
from llm.errors import NightshiftError
from tasks.night_report import write_night
from tasks.night_story import FamilyNight, Spent


@flow(
    name="nightly",
    on_crashed=[close_mlflow_runs, end_inner_runs],
    on_cancellation=[close_mlflow_runs],
    persist_result=True,  # as in `retrain`
    result_serializer="json",
)
def nightly(config: NightlyConfig) -> State[dict[str, Any]]:
    """Retrain all families of the configuration; returns their summaries in a state that says what became of each.

    A run whose night is done, or that a later night follows already, ends at once: see `flows.nights`.

    Raises NightshiftError at the end that names the families that failed.
    """
    night = this_night()
    if night.skip is not None:
        get_run_logger().info("skipped: %s", night.skip)
        return Completed(name=SKIPPED, message=f"skipped: {night.skip}", data={"families": []})
    summaries: list[dict[str, Any]] = []
    failures: dict[str, Exception] = {}
    nights: list[FamilyNight] = []
    for one in config.families:
        started = Spent.now()
        try:
            summaries.append(retrain(one))
            nights.append(FamilyNight(one.family, Spent.now().since(started), summary=summaries[-1]))
        except Exception as error:  # whatever it is, the other families still have the night
            if was_stopped(error):
                raise
            failures[one.family] = error
            told = str(getattr(error, "problem", error))
            nights.append(FamilyNight(one.family, Spent.now().since(started), error=told))
            get_run_logger().error("%s failed: %s", one.family, error)
    # What was promoted stays promoted, whether or not the page can be written.
    write_night(nights, return_state=True)
    if failures:
        done = ", ".join(summary["family"] for summary in summaries) or "none"
        raise _failure(failures, done=done) from next(iter(failures.values()))
    return Completed(message=decisions(summaries), data={"families": summaries})


def decisions(summaries: Sequence[Mapping[str, Any]]) -> str:
    """`promoted: generation; nothing new: translation, classification`."""
    families: dict[str, list[str]] = {}
    for summary in summaries:
        families.setdefault(summary["decision"], []).append(summary["family"])
    return "; ".join(f"{decision}: {', '.join(names)}" for decision, names in families.items())


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
