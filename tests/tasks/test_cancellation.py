"""A run whose SIGTERM a training holds back still confirms to Prefect that it is being cancelled."""

from __future__ import annotations

from prefect._internal import control_listener

from llm.training.interruption import interruptions
from tasks.cancellation import cancellable


def ask(*, connected: bool = True) -> tuple[bool, list[str]]:
    """What Prefect does when a cancellation is announced: the answer, and what was done on the way."""
    done: list[str] = []

    def send() -> None:
        if not connected:
            raise BrokenPipeError
        done.append("confirmed")

    heard = control_listener.commit_control_intent_and_ack(
        commit_intent=lambda: done.append("noted"), clear_intent=lambda: done.append("forgotten"), send_ack=send
    )
    return heard, done


def test_while_a_training_holds_signals_back_a_cancellation_is_confirmed() -> None:
    with interruptions():
        assert ask() == (False, [])
        with cancellable():
            assert ask() == (True, ["noted", "confirmed"])
        assert ask() == (False, [])


def test_what_cannot_be_confirmed_is_forgotten() -> None:
    with cancellable():
        assert ask(connected=False) == (False, ["noted", "forgotten"])
