"""One thread, many requests: what is answered together, what is sent away, and that none suffers for another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
from watched import Watched

from llm.errors import InputError
from llm.families.base import Answer
from llm.serving.batches import Batches
from llm.serving.limits import BusyError, ServerLimits

LONGEST_S = 60.0


@contextmanager
def busy(batches: Batches, watched: Watched) -> Iterator[None]:
    """While in here, the thread is kept by a client that reads no further; then it goes on."""
    entered, go_on = threading.Event(), threading.Event()

    def write(_piece: str) -> None:
        entered.set()
        assert go_on.wait(LONGEST_S)

    held = batches.submit_stream("apple", watched.parse_params({"max_new_tokens": 4}), write)
    assert entered.wait(LONGEST_S)
    try:
        yield
    finally:
        go_on.set()
        held.result(LONGEST_S)


@pytest.fixture
def start(watched: Watched) -> Iterator[Callable[..., Batches]]:
    started = []

    def make(**limits: Any) -> Batches:
        batches = Batches(watched, ServerLimits(**limits))
        batches.start()
        started.append(batches)
        return batches

    yield make
    for batches in started:
        batches.stop()


def ask(batches: Batches, watched: Watched, texts: list[str], **params: Any) -> Future[list[Answer]]:
    return batches.submit(texts, watched.parse_params({"max_new_tokens": 6, **params}))


def test_what_waits_with_equal_parameters_is_answered_in_one_call_and_as_alone(watched, start):
    batches = start()
    requests = [["apple"], ["saw", "drill pear"], ["plum grape"]]
    with busy(batches, watched):
        futures = [ask(batches, watched, request) for request in requests]
    found = [future.result(LONGEST_S) for future in futures]
    assert watched.calls == [requests]
    # Temperature is 0.8: each request has the random numbers that it has alone.
    assert found == [watched.predict(request, max_new_tokens=6) for request in requests]


def test_other_parameters_are_another_call_and_nobody_is_overtaken_by_more_than_a_batch(watched, start):
    batches = start()
    with busy(batches, watched):
        futures = [
            ask(batches, watched, ["apple"]),
            ask(batches, watched, ["pear"], temperature=0.5),
            ask(batches, watched, ["saw"]),
        ]
    for future in futures:
        future.result(LONGEST_S)
    assert watched.calls == [[["apple"], ["saw"]], [["pear"]]]


def test_a_batch_holds_no_more_texts_than_it_may(watched, start):
    batches = start(batch_texts=3)
    with busy(batches, watched):
        futures = [ask(batches, watched, ["apple"] * count) for count in (2, 2, 1, 5)]
    for future in futures:
        future.result(LONGEST_S)
    assert [[len(request) for request in call] for call in watched.calls] == [[2, 1], [2], [5]]


def test_a_request_that_fails_fails_alone(watched, start):
    batches = start()
    with busy(batches, watched):
        good, bad, other = (ask(batches, watched, [text]) for text in ("apple", "poison", "pear"))
    assert good.result(LONGEST_S) == watched.predict(["apple"], max_new_tokens=6)
    assert other.result(LONGEST_S) == watched.predict(["pear"], max_new_tokens=6)
    with pytest.raises(RuntimeError, match="poisoned"):
        bad.result(LONGEST_S)
    assert ask(batches, watched, ["saw"]).result(LONGEST_S)


def test_when_too_many_wait_the_next_is_sent_away(watched, start):
    batches = start(requests=2)
    with busy(batches, watched):
        futures = [ask(batches, watched, ["apple"]) for _ in range(2)]
        with pytest.raises(BusyError, match="2 requests are waiting"):
            ask(batches, watched, ["pear"])
    assert all(future.result(LONGEST_S) for future in futures)
    assert ask(batches, watched, ["pear"]).result(LONGEST_S)


def test_a_request_that_was_given_up_costs_nothing(watched, start):
    batches = start()
    with busy(batches, watched):
        given_up, other = ask(batches, watched, ["apple"]), ask(batches, watched, ["pear"])
        assert given_up.cancel()
    other.result(LONGEST_S)
    assert watched.calls == [[["pear"]]]


def test_a_client_that_leaves_ends_its_own_text_only(watched, start):
    batches = start()
    pieces = []

    def leave(piece: str) -> None:
        pieces.append(piece)
        raise ConnectionError("the client has gone")

    config = watched.parse_params({"max_new_tokens": 40})
    with pytest.raises(ConnectionError):
        batches.submit_stream("apple", config, leave).result(LONGEST_S)
    assert len(pieces) == 1
    written: list[str] = []
    batches.submit_stream("apple", config, written.append).result(LONGEST_S)
    assert "".join(written) == watched.predict(["apple"], max_new_tokens=40)[0]
    assert len(written) > 1


def test_an_input_that_does_not_fit_after_all_is_told_to_its_request(watched, start):
    with pytest.raises(InputError, match="max_new_tokens = 256"):
        ask(start(), watched, ["apple"], max_new_tokens=256).result(LONGEST_S)


def test_after_the_end_what_waited_is_refused_and_so_is_what_comes(watched):
    batches = Batches(watched, ServerLimits())
    batches.start()
    with busy(batches, watched):
        waiting = ask(batches, watched, ["apple"])
        stopper = threading.Thread(target=batches.stop)
        stopper.start()
        # `stop` has begun once nothing more is taken.
        while _takes_more(batches, watched):
            pass
    stopper.join(LONGEST_S)
    with pytest.raises(BusyError, match="stopping"):
        waiting.result(LONGEST_S)


def _takes_more(batches: Batches, watched: Watched) -> bool:
    try:
        ask(batches, watched, ["pear"]).cancel()
    except BusyError as error:
        return "stopping" not in error.problem
    return True
