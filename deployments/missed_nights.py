"""What `nightshift up` does about the nights that passed while it was off: one run catches up, or none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from deployments.prefect_api import ask
from flows.nights import SKIPPED, NightRun, missed, schedule_zone

DEPLOYMENT = "nightly"


def settle_missed_nights(api: str, *, catch_up: bool, say: Callable[[str], None]) -> None:
    """Cancel, on the server at `api`, the nightly runs that nobody was there to start; with `catch_up` all but one.

    Before a worker starts: it would take them one after another, the oldest first.

    Raises ServerError when the server refuses.
    """
    for deployment in ask(api, "POST", "deployments/filter", {"deployments": {"name": {"any_": [DEPLOYMENT]}}}):
        zone = schedule_zone(deployment)
        # Prefect plans a few nights ahead, so these are few; what ended long ago keeps nothing from running.
        wanted = {
            "flow_runs": {
                "deployment_id": {"any_": [deployment["id"]]},
                "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING", "COMPLETED"]}},
            },
            "sort": "EXPECTED_START_TIME_DESC",
        }
        runs = [NightRun.of(run) for run in ask(api, "POST", "flow_runs/filter", wanted)]
        for identifier, reason in missed(runs, zone=zone, now=datetime.now(UTC), catch_up=catch_up).items():
            state = {"type": "CANCELLED", "name": SKIPPED, "message": f"skipped: {reason}"}
            ask(api, "POST", f"flow_runs/{identifier}/set_state", {"state": state, "force": True})
            say(f"skipped  a nightly run: {reason}")
