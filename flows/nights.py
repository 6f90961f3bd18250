"""Which nightly runs are worth their while: one effective run a night, one catch-up after missed nights, never a pile.

Functions of a list of runs alone. A night is a local date: that on which a run should have started, in the zone of the
schedule. A run that failed, crashed or was cancelled leaves its night open, for whoever starts another; after a crash
that is done by itself, once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

# Name of the state of a run that ended because there was nothing left for it to do.
SKIPPED = "Skipped"
_UTC = "Etc/UTC"
# A night is at most this long: in the autumn, where the clock is put back by two hours.
_NIGHT = timedelta(hours=26)


@dataclass(frozen=True)
class NightRun:
    """A run of the nightly deployment, as far as others depend on it; `state` and `state_name` are Prefect's."""

    id: str
    name: str
    scheduled: datetime  # when it should start, or should have started; with a zone
    state: str
    state_name: str

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> NightRun:
        """A flow run as Prefect's REST API describes it."""
        state = run["state"] or {"type": "SCHEDULED", "name": "Scheduled"}
        # Waiting for a slot or for a retry moves the next start, and leaves this one.
        scheduled = datetime.fromisoformat(run["expected_start_time"])
        return cls(run["id"], run["name"], scheduled, state["type"], state["name"])

    def waits(self, now: datetime) -> bool:
        """True when it is time for it to start, and it has not started."""
        return self.state == "PENDING" or (self.state == "SCHEDULED" and self.scheduled <= now)

    @property
    def done(self) -> bool:
        """True when it did what a night has to do."""
        return self.state == "COMPLETED" and self.state_name != SKIPPED


def schedule_zone(found: Mapping[str, Any]) -> ZoneInfo:
    """The zone of a deployment's schedule, as Prefect's REST API describes it; UTC where it has no schedule."""
    zones = [one["schedule"].get("timezone") for one in found["schedules"]]
    return ZoneInfo(next((zone for zone in zones if zone), _UTC))


def night_of(scheduled: datetime, zone: ZoneInfo) -> date:
    """The night that a run belongs to."""
    return scheduled.astimezone(zone).date()


def relevant_since(run: NightRun) -> datetime:
    """No run that should have started before this can keep `run` from its work."""
    return run.scheduled - _NIGHT


def reason_to_skip(run: NightRun, runs: Iterable[NightRun], *, zone: ZoneInfo, now: datetime) -> str | None:
    """Why `run`, which could start now, has nothing to do among all `runs`; None: it has.

    Two that wait for the same night do not keep each other from it: the first to start does the work.
    """
    night = night_of(run.scheduled, zone)
    for other in sorted(runs, key=lambda one: one.scheduled, reverse=True):
        if other.id == run.id:
            continue
        its_night = night_of(other.scheduled, zone)
        if its_night >= night and other.done:
            return f"the night of {its_night} was done by {other.name}"
        if its_night > night and other.state == "RUNNING":
            return f"{other.name} is running for the later night of {its_night}"
        if its_night > night and other.waits(now):
            return f"{other.name} is due for the later night of {its_night}"
    return None


def missed(runs: Sequence[NightRun], *, zone: ZoneInfo, now: datetime, catch_up: bool) -> dict[str, str]:
    """Of runs that wait, since nobody was there to start them: why those that are too many go, by their ids.

    With `catch_up` the newest stays, without it none.
    """
    waiting = [run for run in runs if run.state == "SCHEDULED" and run.waits(now)]
    if not catch_up:
        return {run.id: f"the night of {night_of(run.scheduled, zone)} was missed" for run in waiting}
    found = {run.id: reason_to_skip(run, runs, zone=zone, now=now) for run in waiting}
    return {identifier: reason for identifier, reason in found.items() if reason is not None}


def to_run_again(runs: Iterable[NightRun], *, zone: ZoneInfo, now: datetime) -> NightRun | None:
    """The run that crashed in the newest night, where nothing else has happened in that night so far.

    What crashes twice would crash all night: the second time a person has to look.
    """
    begun = [run for run in runs if run.state != "SCHEDULED" or run.waits(now)]
    newest = max((night_of(run.scheduled, zone) for run in begun), default=None)
    that_night = [run for run in begun if night_of(run.scheduled, zone) == newest and run.state_name != SKIPPED]
    crashed = len(that_night) == 1 and that_night[0].state == "CRASHED" and now - that_night[0].scheduled < _NIGHT
    return that_night[0] if crashed else None
