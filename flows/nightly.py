"""The nightly flow: every family, one after the other; one family's failure does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from flows.configuration import NightlyConfig, RetrainConfig
from flows.deadly import deadly_last, under_way
from flows.hooks import close_mlflow_runs, end_inner_runs
from flows.nights import SKIPPED
from flows.retrain import retrain
from flows.this_night import ThisNight, this_night
from flows.time_budget import end_of_night, train_until
from llm.errors import NightshiftError
from tasks.night_report import write_night
from tasks.night_story import NO_TIME_LEFT, FamilyNight, Spent
from tasks.pruning import remove_old_stages


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
    unstarted: list[str] = []
    families = deadly_last(config.families, family=lambda one: one.family, say=get_run_logger().warning)
    for one, until in in_time(config.model_copy(update={"families": families}), night):
        started = Spent.now()
        if until == NO_TIME_LEFT:
            unstarted.append(one.family)
            nights.append(FamilyNight(one.family, Spent.now().since(started)))
            get_run_logger().warning("%s: no time left before %s", one.family, config.finish_by)
            continue
        try:
            with under_way(one.family):
                summaries.append(retrain(one, until))
            nights.append(FamilyNight(one.family, Spent.now().since(started), summary=summaries[-1]))
        except Exception as error:  # whatever it is, the other families still have the night
            if was_stopped(error):
                raise
            failures[one.family] = error
            told = str(getattr(error, "problem", error))
            nights.append(FamilyNight(one.family, Spent.now().since(started), error=told))
            get_run_logger().error("%s failed: %s", one.family, error)
    # What was promoted stays promoted, whether or not the page can be written, or old stages removed.
    write_night(nights, return_state=True)
    remove_old_stages(config.keep_days, return_state=True)
    if failures:
        done = ", ".join(summary["family"] for summary in summaries) or "none"
        raise _failure(failures, done=done) from next(iter(failures.values()))
    told = decisions(summaries, unstarted)
    if not summaries:
        return Completed(name=SKIPPED, message=f"skipped: {told}", data={"families": []})
    return Completed(message=told, data={"families": summaries})


def in_time(
    config: NightlyConfig, night: ThisNight
) -> Iterator[tuple[RetrainConfig, datetime | Literal["no time left"] | None]]:
    """Each family, when its turn comes, with the time at which its training has to be over; None: when it likes."""
    end = None
    if config.finish_by is not None:
        end = end_of_night(config.finish_by, scheduled=night.scheduled, zone=night.zone)
    for place, one in enumerate(config.families):
        if end is None:
            yield one, None
        else:
            to_come = len(config.families) - place
            yield one, train_until(end, now=datetime.now(UTC), families=to_come) or NO_TIME_LEFT


def decisions(summaries: Sequence[Mapping[str, Any]], unstarted: Sequence[str] = ()) -> str:
    """`promoted: generation; nothing new: translation; no time left: classification`."""
    families: dict[str, list[str]] = {}
    for summary in summaries:
        families.setdefault(summary["decision"], []).append(summary["family"])
    if unstarted:
        families[NO_TIME_LEFT] = list(unstarted)
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
