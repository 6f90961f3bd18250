"""The policy of the nights, by hand-made cases and for every order of events."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.nights import NightRun, missed, night_of, reason_to_skip, schedule_zone, to_run_again

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2027, 3, 29, 12, 0, tzinfo=UTC)


def run(name: str, scheduled: str, state: str = "SCHEDULED", state_name: str = "") -> NightRun:
    """`scheduled` is a local time in Berlin."""
    when = datetime.fromisoformat(f"2027-{scheduled}").replace(tzinfo=BERLIN)
    return NightRun(name, name, when, state, state_name)


THIS = run("this", "03-29T03:30", "RUNNING")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (run("click", "03-29T00:10", "COMPLETED", "Completed"), "the night of 2027-03-29 was done by click"),
        (run("late", "03-30T03:30", "COMPLETED", "Completed"), "the night of 2027-03-30 was done by late"),
        (run("late", "03-30T03:30", "RUNNING"), "late is running for the later night of 2027-03-30"),
        (run("late", "03-30T03:30", "PENDING"), "late is due for the later night of 2027-03-30"),
        # These leave the work to this run.
        (run("planned", "03-30T03:30"), None),
        (run("click", "03-29T00:10", "COMPLETED", "Skipped"), None),
        (run("click", "03-29T00:10", "FAILED", "Failed"), None),
        (run("click", "03-29T00:10", "CRASHED", "Crashed"), None),
        (run("click", "03-29T00:10", "RUNNING"), None),
        (run("click", "03-29T11:00", "SCHEDULED", "Late"), None),
        (run("before", "03-28T23:59", "COMPLETED", "Completed"), None),
        (run("before", "03-28T03:30", "SCHEDULED", "Late"), None),
    ],
)
def test_what_another_run_means_for_this_one(other, reason):
    assert reason_to_skip(THIS, [THIS, other], zone=BERLIN, now=NOW) == reason


def test_a_later_night_counts_only_once_it_is_due():
    later = run("later", "03-30T03:30", "SCHEDULED", "Late")
    assert reason_to_skip(THIS, [later], zone=BERLIN, now=later.scheduled - timedelta(seconds=1)) is None
    told = "later is due for the later night of 2027-03-30"
    assert reason_to_skip(THIS, [later], zone=BERLIN, now=later.scheduled) == told


def test_the_night_is_a_date_in_the_zone_of_the_schedule():
    moment = datetime(2027, 3, 27, 22, 30, tzinfo=UTC)
    assert night_of(moment, BERLIN) == date(2027, 3, 27)
    assert night_of(moment, ZoneInfo("Australia/Lord_Howe")) == date(2027, 3, 28)


def test_a_run_is_read_from_what_the_server_says():
    told = {"id": "1", "name": "lazy owl", "expected_start_time": "2027-03-28T01:30:00Z", "state": None}
    assert NightRun.of(told) == NightRun(
        "1", "lazy owl", datetime(2027, 3, 28, 1, 30, tzinfo=UTC), "SCHEDULED", "Scheduled"
    )
    zone = schedule_zone({"schedules": [{"schedule": {"cron": "30 3 * * *", "timezone": "Europe/Berlin"}}]})
    assert zone == BERLIN
    assert schedule_zone({"schedules": []}) == ZoneInfo("Etc/UTC")


def test_of_a_pile_of_missed_nights_the_newest_stays_or_none():
    pile = [run(f"night {day}", f"03-{day}T03:30", "SCHEDULED", "Late") for day in (27, 28, 29)]
    planned = run("tomorrow", "03-30T03:30")
    caught_up = missed([*pile, planned], zone=BERLIN, now=NOW, catch_up=True)
    assert caught_up == {f"night {day}": "night 29 is due for the later night of 2027-03-29" for day in (27, 28)}
    none = missed([*pile, planned], zone=BERLIN, now=NOW, catch_up=False)
    assert none == {f"night {day}": f"the night of 2027-03-{day} was missed" for day in (27, 28, 29)}


def test_what_is_late_for_a_night_that_was_done_goes_too():
    done = run("click", "03-29T01:00", "COMPLETED", "Completed")
    late = run("late", "03-29T03:30", "SCHEDULED", "Late")
    assert missed([done, late], zone=BERLIN, now=NOW, catch_up=True) == {
        "late": "the night of 2027-03-29 was done by click"
    }


CRASHED = run("crashed", "03-29T04:30", "CRASHED", "Crashed")


@pytest.mark.parametrize(
    ("others", "again"),
    [
        ([], True),
        ([run("planned", "03-30T04:30")], True),
        ([run("skipped", "03-29T05:00", "COMPLETED", "Skipped")], True),
        ([run("before", "03-28T04:30", "COMPLETED", "Completed")], True),
        ([run("before", "03-28T04:30", "CRASHED", "Crashed")], True),
        # Somebody or something has started another, or the first crash was answered already.
        ([run("again", "03-29T04:30", "SCHEDULED", "Late")], False),
        ([run("again", "03-29T04:30", "RUNNING", "Running")], False),
        ([run("again", "03-29T04:30", "COMPLETED", "Completed")], False),
        ([run("again", "03-29T04:30", "CRASHED", "Crashed")], False),
        ([run("click", "03-29T03:00", "FAILED", "Failed")], False),
        ([run("next", "03-30T04:30", "RUNNING", "Running")], False),
    ],
)
def test_a_night_that_crashed_is_run_again_where_nothing_else_has_happened_in_it(others, again):
    now = max([CRASHED.scheduled, *(one.scheduled for one in others if one.state != "SCHEDULED")])
    found = to_run_again([CRASHED, *others], zone=BERLIN, now=now + timedelta(minutes=5))
    assert found == (CRASHED if again else None)


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "COMPLETED", "RUNNING", "SCHEDULED"])
def test_a_night_that_did_not_crash_is_not_run_again(state):
    assert to_run_again([ended(CRASHED, state, state.title())], zone=BERLIN, now=NOW) is None


def test_a_crash_of_long_ago_is_let_be_and_without_runs_there_is_nothing_to_do():
    assert to_run_again([CRASHED], zone=BERLIN, now=CRASHED.scheduled + timedelta(hours=27)) is None
    assert to_run_again([], zone=BERLIN, now=NOW) is None


runs_of_nights = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 23)), min_size=1, max_size=8)


@given(runs_of_nights, st.randoms(use_true_random=False), st.booleans())
def test_in_any_order_a_pile_leads_to_one_effective_run_of_its_newest_night(
    starts: list[tuple[int, int]], draw: random.Random, settled: bool
):
    midnight = datetime(2027, 3, 25, tzinfo=BERLIN)
    runs = {
        str(number): NightRun(str(number), f"run {number}", midnight + timedelta(days=day, hours=hour), "SCHEDULED", "")
        for number, (day, hour) in enumerate(starts)
    }
    now = midnight + timedelta(days=10)
    if settled:
        for name in missed(list(runs.values()), zone=BERLIN, now=now, catch_up=True):
            runs[name] = ended(runs[name], "CANCELLED", "Skipped")
    order = [name for name, one in runs.items() if one.state == "SCHEDULED"]
    draw.shuffle(order)
    for name in order:
        skip = reason_to_skip(runs[name], runs.values(), zone=BERLIN, now=now)
        runs[name] = ended(runs[name], "COMPLETED", "Skipped" if skip else "Completed")
    effective = [night_of(one.scheduled, BERLIN) for one in runs.values() if one.done]
    assert effective == [max(night_of(one.scheduled, BERLIN) for one in runs.values())]


@given(runs_of_nights, st.lists(st.booleans(), min_size=8, max_size=8))
def test_of_runs_that_start_in_time_each_night_has_one_that_succeeds_if_any_can(
    starts: list[tuple[int, int]], succeed: list[bool]
):
    midnight = datetime(2027, 3, 25, tzinfo=BERLIN)
    over: list[NightRun] = []
    tried: dict[date, list[bool]] = {}
    for number, (day, hour) in enumerate(sorted(starts)):
        one = NightRun(str(number), "", midnight + timedelta(days=day, hours=hour), "RUNNING", "Running")
        skip = reason_to_skip(one, over, zone=BERLIN, now=one.scheduled)
        state = "COMPLETED" if skip or succeed[number] else "FAILED"
        over.append(ended(one, state, "Skipped" if skip else state.title()))
        if not skip:
            tried.setdefault(night_of(one.scheduled, BERLIN), []).append(succeed[number])
    nights = {night_of(one.scheduled, BERLIN) for one in over}
    assert set(tried) == nights
    # It is tried again until it succeeds, and not once more.
    assert all(True not in attempts[:-1] for attempts in tried.values())


def ended(one: NightRun, state: str, state_name: str) -> NightRun:
    return NightRun(one.id, one.name, one.scheduled, state, state_name)
