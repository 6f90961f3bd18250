"""The inside of `benchmarks.nights`: the server, the moved clock, the worker's part, and what each night should be."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import uvicorn
import yaml
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow
from prefect.server.api.server import create_app
from prefect.states import Pending

import deployments.missed_nights
import flows.nightly
import flows.this_night
from deployments.environment import answers
from deployments.missed_nights import settle_missed_nights
from deployments.prefect_api import ask
from deployments.servers import PREFECT_FILE
from flows.configuration import NightlyConfig, load_config
from flows.nights import NightRun, night_of
from llm.families import load_family

_POOL = "nights"
_ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe")
# The first day, so that each of the three zones changes its clock within 30 nights, or 40.
FIRST = {"spring": "2027-03-08", "autumn": "2027-10-01"}
# Counted from the first night: off for two, twice at once, no room on the disk.
_OFF, _TWICE, _FULL = (3, 4), 6, 8
_PATIENCE_S = 60.0


class Clock:
    """The time that Prefect (all of it asks `pendulum.now`) and our own policy see: the real one and an offset."""

    def __init__(self) -> None:
        self.shift = timedelta(0)
        real = pendulum.now
        pendulum.now = lambda tz=None: real(tz) + self.shift
        clock = self

        class Moved(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + clock.shift

        for module in (deployments.missed_nights, flows.this_night, flows.nightly):
            module.datetime = Moved  # type: ignore[attr-defined]

    def set(self, when: datetime) -> None:
        """It goes on from there, as clocks do."""
        self.shift = when - datetime.now(UTC)

    def now(self) -> datetime:
        """The moved time."""
        return datetime.now(UTC) + self.shift


class Server:
    """Prefect's own server in a thread of this process, which sees the moved clock."""

    def __init__(self, port: int) -> None:
        config = uvicorn.Config(create_app(ignore_cache=True), host="127.0.0.1", port=port, log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not answers(f"http://127.0.0.1:{port}/api/health"):
            time.sleep(0.2)

    def stop(self) -> None:
        """End it, as Ctrl-C ends `nightshift up`."""
        self._server.should_exit = True
        self._thread.join()


@dataclass
class House:
    """The home, the server that can be off, the deployments by zone, and the runs that ended by their ids."""

    home: Path
    clock: Clock
    port: int
    server: Server | None = None
    deployments: dict[str, str] = field(default_factory=dict)
    ended: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    @property
    def api(self) -> str:
        """Of the Prefect server."""
        return f"http://127.0.0.1:{self.port}/api"

    def up(self) -> None:
        """What `nightshift up` does, as far as nights depend on it."""
        self.server = Server(self.port)
        settle_missed_nights(self.api, catch_up=True, say=_say)

    def down(self) -> None:
        """Stop the server, if it is there."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The reply of the server."""
        return ask(self.api, method, path, body)

    def look(self) -> None:
        """Write down how runs ended, since the server forgets them in the end: zone, night, state."""
        ends = {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}
        for zone, identifier in self.deployments.items():
            wanted = {"flow_runs": {"deployment_id": {"any_": [identifier]}, "state": ends}, "limit": 20}
            for run in self.ask("POST", "flow_runs/filter", wanted | {"sort": "EXPECTED_START_TIME_DESC"}):
                night = night_of(NightRun.of(run).scheduled, ZoneInfo(zone)).isoformat()
                self.ended[run["id"]] = (zone, night, run["state"]["name"])

    def kilobytes(self) -> int:
        """Of the Prefect database."""
        return sum(path.stat().st_size for path in self.home.parent.glob("prefect/prefect.db*")) // 1024

    def rows(self) -> dict[str, int]:
        """Of the tables that grow."""
        with closing(sqlite3.connect(self.home.parent / "prefect" / "prefect.db")) as database:
            # Table names of our own, no input.
            count = "SELECT count(*) FROM "
            return {table: database.execute(count + table).fetchone()[0] for table in ("flow_run", "log", "events")}


def simulate(season: str, nights: int, folder: Path) -> dict[str, Any]:
    """All nights of a season; the figures."""
    flows.nightly.retrain = _retrain  # type: ignore[assignment]
    started = time.monotonic()
    first = datetime.fromisoformat(FIRST[season])
    port = int(os.environ["PREFECT_API_URL"].removesuffix("/api").rpartition(":")[2])
    house = House(folder / "home", Clock(), port)
    house.clock.set(first.replace(tzinfo=UTC) - timedelta(hours=12))  # before the first night in the east, only
    grown = []
    try:
        house.up()
        _deploy(house)
        for number in range(nights):
            _one_day(house, number, first + timedelta(days=number))
            if house.server is not None:
                house.look()
            grown.append({"kb": house.kilobytes(), **house.rows()})
            _say(f"{season}, night {number + 1} of {nights}: {grown[-1]}")
    finally:
        house.down()
    return {
        "season": season,
        "nights": nights,
        "zones": list(_ZONES),
        **_judge(house, first, nights),
        "database": {f"night {number + 1}": grown[number] for number in range(0, nights, 5)} | {"last": grown[-1]},
        "seconds": round(time.monotonic() - started),
    }


def _one_day(house: House, number: int, day: datetime) -> None:
    """What is due in each zone on this date of its own is run, in the order in which it is due."""
    due = sorted((_starts(zone, day), zone) for zone in _ZONES)
    ballast = house.home / "ballast"
    if number == _OFF[0]:
        house.down()
    for when, zone in due:
        house.clock.set(when + timedelta(seconds=2))
        if number in _OFF:
            continue
        if number == _TWICE:
            house.ask("POST", f"deployments/{house.deployments[zone]}/create_flow_run", {})
        if number == _FULL:
            _fill(ballast)
        _work(house)
        ballast.unlink(missing_ok=True)
    if number == _OFF[1]:
        house.clock.set(due[-1][0] + timedelta(hours=3))
        house.up()
        _work(house)


def _starts(zone: str, day: datetime) -> datetime:
    minute, hour = _nightly()["schedules"][0]["cron"].split()[:2]
    return day.replace(hour=int(hour), minute=int(minute), tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _nightly() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PREFECT_FILE.read_text())["deployments"][0]
    return found


def _deploy(house: House) -> None:
    """The nightly deployment of prefect.yaml in each zone, each of a flow of its own name."""
    config = NightlyConfig(families=[load_config("classification", preset="smoke")])
    wanted = _nightly()
    limit, cron = wanted["concurrency_limit"], wanted["schedules"][0]["cron"]
    house.ask("POST", "work_pools/", {"name": _POOL, "type": "process"})
    for zone in _ZONES:
        flow = house.ask("POST", "flows/", {"name": f"nightly in {zone.rpartition('/')[2]}"})["id"]
        body = {
            "name": wanted["name"],
            "flow_id": flow,
            "work_pool_name": _POOL,
            "parameters": {"config": config.model_dump(mode="json")},
            "schedules": [{"schedule": {"cron": cron, "timezone": zone}, "active": True}],
            "concurrency_limit": limit["limit"],
            "concurrency_options": {"collision_strategy": limit["collision_strategy"]},
        }
        house.deployments[zone] = house.ask("POST", "deployments/", body)["id"]
    for identifier in house.deployments.values():
        of_it = {"flow_runs": {"deployment_id": {"any_": [identifier]}}}
        while not house.ask("POST", "flow_runs/filter", of_it):
            time.sleep(0.2)  # the scheduler plans what is to come, and would not plan what is past


def _work(house: House) -> None:
    """A worker that takes what is due until nothing is."""
    taken, deadline = 0, time.monotonic() + _PATIENCE_S
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            now = house.clock.now().isoformat()
            found = house.ask("POST", f"work_pools/{_POOL}/get_scheduled_flow_runs", {"scheduled_before": now})
            if taken and not found:
                return
            for one in found:
                identifier = one["flow_run"]["id"]
                if client.set_flow_run_state(identifier, Pending()).state.is_pending():
                    run = client.read_flow_run(identifier)
                    run_flow(flows.nightly.nightly, flow_run=run, parameters=run.parameters, return_type="state")
                    taken += 1
            time.sleep(0 if found else 0.2)
    _say("nothing was due")


def _retrain(config: Any, until: datetime | None = None) -> dict[str, Any]:  # noqa: ARG001
    """In place of the real one: a file in the home, which a full disk has no room for."""
    made = Path(os.environ["NIGHTSHIFT_HOME"]) / "training"
    # As stages are made: whole under another name first, beside what was there.
    made.with_suffix(".partial").write_bytes(b"\0" * 500_000)
    made.with_suffix(".partial").replace(made)
    # What the page of a night shows.
    figures = {"metrics": {load_family(config.family).metric.name: 0.5}, "intervals": {}, "before": None}
    return {"family": config.family, "decision": "nothing new", "version": 1, **figures}


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 65536)
        except OSError:
            return  # full, as it should be


def _judge(house: House, first: datetime, nights: int) -> dict[str, Any]:
    """What became of each night in each zone, held against the policy."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for zone, night, state in house.ended.values():
        found.setdefault((zone, night), Counter())[state] += 1
    wanted = {
        (zone, (first + timedelta(days=number)).date().isoformat()): _policy(number)
        for zone in _ZONES
        for number in range(nights)
    }
    wrong = [
        f"{zone} {night}: {dict(found.get((zone, night), {}))}, and not {wanted.get((zone, night))}"
        for zone, night in sorted(found.keys() | wanted.keys())
        if dict(found.get((zone, night), {})) != wanted.get((zone, night))
    ]
    states = Counter(state for _, _, state in house.ended.values())
    return {"zone_nights": len(wanted), "as_the_policy_says": len(wanted) - len(wrong), "wrong": wrong, **states}


def _policy(number: int) -> dict[str, int]:
    if number == _OFF[0]:
        return {"Skipped": 1}  # the missed night after it catches up for both
    if number == _TWICE:
        return {"Completed": 1, "Skipped": 1}
    return {"Failed": 1} if number == _FULL else {"Completed": 1}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Print one JSON line; the exit code is 1 when a night went against the policy."""
    season, nights, folder = sys.argv[1:]
    found = simulate(season, int(nights), Path(folder))
    print(json.dumps(found), flush=True)
    # Threads of Prefect's client wait for a server that is gone, and would keep the process for minutes.
    os._exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
