"""The zone in which it is noon."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from benchmarks.noon import zone_at_noon


@pytest.mark.parametrize("hour", range(24))
def test_at_every_hour_there_is_a_zone_in_which_it_is_noon(hour):
    now = datetime(2026, 11, 28, hour, 59, tzinfo=UTC)
    assert now.astimezone(ZoneInfo(zone_at_noon(now))).strftime("%H:%M") == "12:59"
