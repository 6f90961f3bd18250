"""The hours of a night by hand: its end by the clock, also where the clock is moved, and the shares of the families."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from flows.configuration import NightlyConfig, RetrainConfig
from flows.nightly import in_time
from flows.this_night import ThisNight
from flows.time_budget import end_of_night, limited, train_until
from llm.training.stage import training_spec

NOW = datetime(2027, 1, 1, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "scheduled", "finish_by", "end"),
    [
        # Clocks go forward at 01:00 UTC on 28 March and back on 31 October: in Berlin that is within these nights.
        ("Europe/Berlin", "2027-03-28T00:30", "06:00", "2027-03-28T04:00"),
        ("Europe/Berlin", "2027-03-27T22:00", "06:00", "2027-03-28T04:00"),
        ("Europe/Berlin", "2027-10-30T22:00", "06:00", "2027-10-31T05:00"),
        # Half an hour back, from +11:00 to +10:30, on 4 April.
        ("Australia/Lord_Howe", "2027-04-03T22:00", "06:00", "2027-04-03T19:30"),
        ("America/New_York", "2027-03-13T22:00", "06:00", "2027-03-14T10:00"),
        # On the minute that it ends, the next day's is meant.
        ("Etc/UTC", "2027-03-28T06:00", "06:00", "2027-03-29T06:00"),
        ("Etc/UTC", "2027-03-28T05:59", "06:00", "2027-03-28T06:00"),
    ],
)
def test_a_night_ends_when_the_clock_on_the_wall_shows_it(zone, scheduled, finish_by, end):
    place = ZoneInfo(zone)
    begun = datetime.fromisoformat(scheduled).replace(tzinfo=place)
    assert end_of_night(finish_by, scheduled=begun, zone=place) == datetime.fromisoformat(end).replace(tzinfo=UTC)


def test_families_share_what_is_left_equally_and_leave_time_for_what_is_no_training():
    end = NOW + timedelta(hours=3)
    assert train_until(end, now=NOW, families=3) == NOW + timedelta(minutes=51)
    # The first one had nothing new: the others have an hour and a half each.
    assert train_until(end, now=NOW, families=2) == NOW + timedelta(minutes=76.5)


@pytest.mark.parametrize(("left", "starts"), [(120, True), (119, False), (0, False), (-3600, False)])
def test_a_share_below_a_minute_is_not_begun(left, starts):
    until = train_until(NOW + timedelta(seconds=left), now=NOW, families=2)
    assert (until is not None) == starts


@pytest.fixture
def family(toy_recipe) -> RetrainConfig:
    return RetrainConfig.model_validate(toy_recipe.model_dump())


def told(config: NightlyConfig, *, begun: timedelta) -> list[object]:
    now = datetime.now(UTC)
    night = ThisNight(scheduled=now - begun, zone=UTC, skip=None)
    return [until for _, until in in_time(config, night)]


def test_a_catch_up_after_the_hour_has_no_time_left_and_a_night_without_one_all_of_it(family):
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%H:%M")
    config = NightlyConfig(families=[family], finish_by=hour_ago)
    assert told(config, begun=timedelta(hours=4)) == ["no time left"]
    assert told(config.model_copy(update={"finish_by": None}), begun=timedelta(hours=4)) == [None]
    (until,) = told(config, begun=timedelta(0))
    assert timedelta(hours=19) < until - datetime.now(UTC) < timedelta(hours=20)


@pytest.mark.parametrize("finish_by", ["6:00", "24:00", "06:60", "06:00:00", "six", ""])
def test_an_hour_that_is_none_is_refused(family, finish_by):
    with pytest.raises(ValueError, match="finish_by"):
        NightlyConfig(families=[family], finish_by=finish_by)


def test_what_a_clock_may_end_has_a_key_of_its_own_and_all_other_keys_are_as_before(family, toy_training):
    spec = training_spec(family.recipe, tokens=toy_training, tokenizer=toy_training)
    assert "limited" not in spec.config_values["training"]
    assert "limited" not in family.model_dump(mode="json")["training"]
    other = training_spec(limited(family).recipe, tokens=toy_training, tokenizer=toy_training)
    assert other.config_values["training"]["limited"] is True
    assert other.key != spec.key


def test_no_form_shows_what_only_the_night_sets():
    assert "limited" not in str(RetrainConfig.model_json_schema())
