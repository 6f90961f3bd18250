"""Cancelled from Prefect's page, a training writes a checkpoint first: Prefect must still see a cancellation in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def cancellable() -> Iterator[None]:
    """Inside, a flow run that is asked to be cancelled says that it heard, though its SIGTERM is not Prefect's own.

    Before a worker sends SIGTERM to cancel a run, it tells the run so. The run only confirms that while Prefect's
    handler of the signal is in place; unconfirmed, the end counts as a crash. A training puts a handler of its own
    there (`llm.training.interruption`) which calls Prefect's once the checkpoint is written: confirming is right.
    Where a later Prefect does without this, nothing is changed.
    """
    from prefect._internal import control_listener as listener

    name = "commit_control_intent_and_ack"
    before = getattr(listener, name, None)
    if before is None:
        yield
        return
    setattr(listener, name, _confirm)
    try:
        yield
    finally:
        setattr(listener, name, before)


def _confirm(
    commit_intent: Callable[[], Any],
    clear_intent: Callable[[], Any],
    send_ack: Callable[[], Any],
    trigger_cancel: Callable[[], Any] | None = None,  # noqa: ARG001  (Windows only)
) -> bool:
    commit_intent()
    try:
        send_ack()
    except OSError:
        clear_intent()
        return False
    return True
