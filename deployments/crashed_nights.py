"""A night that crashed is run again by `nightshift up`, once: nobody has to get up for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.missed_nights import DEPLOYMENT
from deployments.prefect_api import ask
from deployments.processes import ServerError
from flows.nights import NightRun, night_of, schedule_zone, to_run_again

_EVERY_S = 30.0
_LOOK_BACK = timedelta(days=3)


class CrashedNights:
    """Watches the runs of the deployment `nightly` on the server at `api`; `look` often."""

    def __init__(self, api: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._looked = clock() - _EVERY_S

    def look(self) -> list[str]:
        """Plan the run that is due after a crash, looking twice a minute; returns what there is to tell."""
        now = self._clock()
        if now - self._looked < _EVERY_S:
            return []
        self._looked = now
        try:
            crashed = {run["deployment_id"] for run in self._runs({"state": {"type": {"any_": ["CRASHED"]}}})}
            return [told for deployment in crashed if (told := self._run_again(deployment))]
        except ServerError:
            return []  # it is away, and the next look comes

    def _run_again(self, deployment: str) -> str | None:
        zone = schedule_zone(ask(self._api, "GET", f"deployments/{deployment}"))
        found = {run["id"]: run for run in self._runs({"deployment_id": {"any_": [deployment]}})}
        crashed = to_run_again(map(NightRun.of, found.values()), zone=zone, now=datetime.now(UTC))
        if crashed is None:
            return None
        body = {
            "parameters": found[crashed.id]["parameters"],
            # Of the same night, though the next one may have begun.
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": crashed.scheduled.isoformat()}},
            "idempotency_key": f"again-{crashed.id}",
        }
        name = ask(self._api, "POST", f"deployments/{deployment}/create_flow_run", body)["name"]
        return (
            f"the night of {night_of(crashed.scheduled, zone)} crashed ({crashed.name}), and is run again, once: {name}"
        )

    def _runs(self, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        since = (datetime.now(UTC) - _LOOK_BACK).isoformat()
        body = {
            "deployments": {"name": {"any_": [DEPLOYMENT]}},
            "flow_runs": {"expected_start_time": {"after_": since}, **wanted},
            "sort": "EXPECTED_START_TIME_DESC",
        }
        found: list[dict[str, Any]] = ask(self._api, "POST", "flow_runs/filter", body)
        return found
