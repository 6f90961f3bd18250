"""A zone in which it is noon: what runs `nightshift up` at whatever hour must not meet the hour of its schedule."""

from __future__ import annotations

from datetime import UTC, datetime


def zone_at_noon(now: datetime | None = None) -> str:
    """The zone of whole hours from UTC in which it is between 12:00 and 12:59 at `now`, which has a zone.

    At 04:30 the scheduled night would begin beside the runs that are looked at, and take their night from them.
    """
    ahead = 12 - (now or datetime.now(UTC)).astimezone(UTC).hour
    # POSIX counts westwards: Etc/GMT-5 is five hours ahead of UTC.
    return f"Etc/GMT{-ahead:+d}"
