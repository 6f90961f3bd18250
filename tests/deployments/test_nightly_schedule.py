"""The schedule in prefect.yaml: a zone that can be chosen, and an hour that no clock moves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
import yaml
from typer.testing import CliRunner

from deployments.cli import app
from deployments.recipes import set_zone, zone
from deployments.servers import PREFECT_FILE
from llm.errors import ConfigError

SCHEDULED = next(one for one in yaml.safe_load(PREFECT_FILE.read_text())["deployments"] if one["name"] == "nightly")


def days_that_move_a_clock(place: ZoneInfo) -> Iterator[datetime]:
    """Noons of 2026 and 2027 with another offset from UTC than the noon before."""
    noon = datetime(2026, 1, 1, 12, 0, tzinfo=place)
    for day in range(1, 2 * 365):
        before, now = noon + timedelta(days=day - 1), noon + timedelta(days=day)
        if before.utcoffset() != now.utcoffset():
            yield now


def test_the_hour_is_there_once_on_every_day_in_every_zone():
    minute, hour, *every = SCHEDULED["schedules"][0]["cron"].split()
    assert every == ["*", "*", "*"]
    moved, seen = set(), 0
    for name in available_timezones():
        for day in days_that_move_a_clock(ZoneInfo(name)):
            local = day.replace(hour=int(hour), minute=int(minute))
            skipped = local.astimezone(UTC).astimezone(local.tzinfo) != local
            doubled = local.utcoffset() != local.replace(fold=1).utcoffset()
            seen += 1
            if skipped or doubled:
                moved.add(name)
    assert moved == set()
    assert seen > 500


def test_one_night_at_a_time_and_the_next_one_waits():
    assert SCHEDULED["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


@pytest.mark.usefixtures("own_environment")
def test_the_zone_is_utc_until_another_is_chosen():
    os.environ.pop("NIGHTSHIFT_ZONE", None)
    assert zone() == "Etc/UTC"
    set_zone("Australia/Lord_Howe")
    assert (zone(), os.environ["NIGHTSHIFT_ZONE"]) == ("Australia/Lord_Howe",) * 2


@pytest.mark.parametrize("name", ["Europe/Berln", "../UTC", "Europe", "/etc/passwd"])
@pytest.mark.usefixtures("own_environment")
def test_a_zone_that_does_not_exist_is_refused(name):
    with pytest.raises(ConfigError, match="there is no time zone"):
        set_zone(name)


@pytest.mark.usefixtures("own_environment")
def test_up_refuses_it_before_anything_starts():
    done = CliRunner().invoke(app, ["up", "--zone", "Europe/Berln"])
    assert done.exit_code == 2
    assert "there is no time zone 'Europe/Berln'" in done.stderr
