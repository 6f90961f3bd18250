"""What the nightly flow knows of its night: the zone of the schedule, and whether there is anything to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import deployment, flow_run

from flows.nights import NightRun, reason_to_skip, relevant_since, schedule_zone


@dataclass(frozen=True)
class ThisNight:
    """When the run should have started, the zone that its night is counted in, and why it is not needed, if so."""

    scheduled: datetime
    zone: tzinfo
    skip: str | None


def this_night() -> ThisNight:
    """Of the flow run that this is called in; whoever runs the flow without a deployment wants it to run."""
    now = datetime.now(UTC)
    if deployment.id is None:
        return ThisNight(scheduled=now, zone=_local_zone(now), skip=None)
    with get_client(sync_client=True) as client:
        zone = schedule_zone(client.request("GET", f"/deployments/{deployment.id}").json())
        this = NightRun.of(client.request("GET", f"/flow_runs/{flow_run.id}").json())
        runs = _runs(client, str(deployment.id), this)
    return ThisNight(scheduled=this.scheduled, zone=zone, skip=reason_to_skip(this, runs, zone=zone, now=now))


def _runs(client: SyncPrefectClient, deployment_id: str, this: NightRun) -> list[NightRun]:
    # The newest first, of which a page is more than enough: the night of `this`, and those after it.
    wanted = {
        "flow_runs": {
            "deployment_id": {"any_": [deployment_id]},
            "expected_start_time": {"after_": relevant_since(this).isoformat()},
        },
        "sort": "EXPECTED_START_TIME_DESC",
    }
    return [NightRun.of(run) for run in client.request("POST", "/flow_runs/filter", json=wanted).json()]


def _local_zone(now: datetime) -> tzinfo:
    zone = now.astimezone().tzinfo
    assert zone is not None  # astimezone() takes the machine's
    return zone
