from __future__ import annotations

import pytest

from flows.nightly import decisions, was_stopped


class Termination(BaseException):
    """Like Prefect's TerminationSignal: no Exception."""


@pytest.mark.parametrize("signal", [KeyboardInterrupt, Termination])
def test_an_error_that_an_interruption_brought_about_stops_the_night(signal):
    def stop() -> None:
        try:
            raise signal
        except signal:
            raise ConnectionError("the server is gone") from None

    with pytest.raises(ConnectionError) as caught:
        stop()
    assert was_stopped(caught.value)


def test_an_error_of_its_own_does_not():
    def fail() -> None:
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise ValueError("effect") from error

    with pytest.raises(ValueError, match="effect") as caught:
        fail()
    assert not was_stopped(caught.value)


@pytest.mark.parametrize(
    ("nights", "told"),
    [
        ({"a": "nothing new", "b": "nothing new", "c": "nothing new"}, "nothing new: a, b, c"),
        ({"a": "promoted", "b": "nothing new", "c": "promoted"}, "promoted: a, c; nothing new: b"),
        ({"a": "refused", "b": "promoted", "c": "nothing new"}, "refused: a; promoted: b; nothing new: c"),
    ],
)
def test_a_night_tells_what_became_of_each_family(nights, told):
    assert decisions([{"family": family, "decision": decision} for family, decision in nights.items()]) == told
