"""Runs whose process is gone are ended by `nightshift up`: nothing else would, when their worker died too.

An automation of the Prefect server could do it, and did: but a server that was away for some minutes has got no
heartbeats meanwhile, and its first act would be to end all living runs. So silence is counted here, and only while the
server answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from deployments.prefect_api import ask
from deployments.processes import ServerError

# Three heartbeats: a busy machine may lose one.
SILENCE_S = 90.0
_EVERY_S = 10.0
# So long between two looks, and the server was away, or this machine asleep.
_GAP_S = 25.0
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RESOURCE = "prefect.flow-run."
_MOST = 200


class Silence:
    """Watches the runs of the server at `api` that have given a sign of life once; `look` often."""

    def __init__(self, api: str, *, silence_s: float = SILENCE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._silence_s = silence_s
        self._clock = clock
        self._looked = clock() - _EVERY_S
        # By run: its newest heartbeat, and since when, while the server answered, that is the newest.
        self._heard: dict[str, tuple[str, float]] = {}

    def look(self) -> list[str]:
        """End the runs that have been silent for too long, looking every ten seconds; returns what there is to tell."""
        now = self._clock()
        if now - self._looked < _EVERY_S:
            return []
        try:
            beats = self._beats()
        except ServerError:
            return []  # whoever watches the server tells; the gap since the last look says it too
        gap, self._looked = now - self._looked > _GAP_S, now
        before = {} if gap else self._heard
        # A run that has not been heard since keeps its time.
        self._heard = {run: before[run] if before.get(run, ("",))[0] == beat else (beat, now) for run, beat in beats}
        known = list(self._heard.items())
        ended = [run for run, (_, since) in known if now - since >= self._silence_s and self._end(run)]
        told = f"has given no sign of life for {self._silence_s:.0f} s and was marked as crashed"
        return [f"flow run {run} {told}" for run in ended]

    def _beats(self) -> list[tuple[str, str]]:
        """Runs that are RUNNING, each with the id of its newest heartbeat; those that never gave one are left alone."""
        body = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}, "limit": _MOST}
        runs = [run["id"] for run in ask(self._api, "POST", "flow_runs/filter", body)]
        return [(run, beat) for run in runs if (beat := self._newest(run))]

    def _newest(self, run: str) -> str | None:
        wanted = {"event": {"name": [_HEARTBEAT]}, "resource": {"id": [f"{_RESOURCE}{run}"]}, "order": "DESC"}
        found: list[dict[str, Any]] = ask(self._api, "POST", "events/filter", {"filter": wanted, "limit": 1})["events"]
        return str(found[0]["id"]) if found else None

    def _end(self, run: str) -> bool:
        message = f"no sign of life for {self._silence_s:.0f} s: its process is gone, or its machine"
        try:
            ask(
                self._api,
                "POST",
                f"flow_runs/{run}/set_state",
                {"state": {"type": "CRASHED", "name": "Crashed", "message": message}},
            )
        except ServerError:
            return False  # the next look tries again
        del self._heard[run]
        return True
