"""How the hours of a night are shared out: an end by the clock, and a time at which each training has to be over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from prefect.context import FlowRunContext

from flows.configuration import RetrainConfig
from llm.errors import ConfigError

# Of a family's share. Reading, scoring and registering take the rest; where they take less, the next family has more.
_TRAINING = 0.85
# A shorter share would be spent before the first step.
_LEAST = timedelta(minutes=1)


def end_of_night(finish_by: str, *, scheduled: datetime, zone: tzinfo) -> datetime:
    """The first time after `scheduled` that a clock in `zone` shows `finish_by` (as in 06:00), in UTC."""
    hour, minute = finish_by.split(":")
    local = scheduled.astimezone(zone)
    end = local.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0, fold=0)
    # Counted in dates and not in hours: a night with a change of the clock is not 24 hours long.
    return (end if end > local else end + timedelta(days=1)).astimezone(UTC)


def train_until(end: datetime, *, now: datetime, families: int) -> datetime | None:
    """When the training of the next of `families` families has to be over; None: too little time is left to start.

    All have the same share of the time from `now` to `end`; what one does not need goes to those that follow.
    """
    share = (end - now) / families
    return None if share < _LEAST else now + _TRAINING * share


def require_to_come(until: datetime) -> None:
    """Raise ConfigError unless `until` is later than the first start of the flow run that this is called in.

    A training that began after it would end with its first step. A run that is started again may find it over: what it
    had trained in time is to be judged.
    """
    context = FlowRunContext.get()
    started = context.flow_run.start_time if context and context.flow_run else None
    started = started or datetime.now(UTC)
    if until <= started:
        raise ConfigError(
            f"until = {until.isoformat()}: must be later than the start of the run, "
            f"{started.isoformat(timespec='seconds')}",
            remedy="name a later time, to which a training that was interrupted goes on too, or leave it out",
        )


def limited(config: RetrainConfig) -> RetrainConfig:
    """The same, of which a clock may end the training: what comes of that has another key."""
    training = config.training.model_copy(update={"limited": True})
    return config.model_copy(update={"training": training})
