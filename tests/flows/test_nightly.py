from __future__ import annotations

import pytest

from flows.nightly import was_stopped


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
