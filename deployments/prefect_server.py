"""Prefect's command line for its server, which looks less often for what it might have to do.

    python -m deployments.prefect_server server start

Prefect has settings for most of what its server does now and then (`addresses`), but not for its queue of background
work, at which it looks four to ten times a second in three ways, nor for uvicorn. Together these are two thirds of what
a server that waits takes of a core; and beside a training they count for more, since each of its threads waits for the
slowest.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import docket

from deployments.slow_ticks import tick_slowly

# Work that is due at a time starts about so much late; what is to be done at once does not wait, unless ten pieces of
# work are being done already.
EVERY = timedelta(seconds=5)
MINUTE = timedelta(minutes=1)


class PatientWorker(docket.Worker):
    """docket's worker for Prefect's server, which cancels nothing in that queue: flow runs are cancelled elsewhere."""

    def __init__(self, docket: docket.Docket, **options: Any) -> None:
        # Read by other processes that share the queue, of which there are none: it is in the server's memory.
        docket.heartbeat_interval = MINUTE
        super().__init__(docket, **{"minimum_check_interval": EVERY, "scheduling_resolution": EVERY} | options)

    async def _cancellation_listener(self) -> None:
        session = self._processing_session
        if session is not None:
            session.cancellation_ready.set()  # else no work is begun
            await session.stopping.wait()


def be_patient() -> None:
    """Have Prefect's server, which must not be imported yet, make its worker of our class, and look less often."""
    docket.Worker = PatientWorker  # the name by which Prefect imports it
    from prefect.server.events import triggers

    # Every 5 s it looks for events that waited in vain for one that should have come before them, and tidies up.
    evaluate = triggers.evaluate_periodically
    triggers.evaluate_periodically = lambda _every: evaluate(MINUTE)
    tick_slowly()


def main() -> None:
    """Run the command line that `prefect` is."""
    be_patient()
    from prefect.cli import app

    app()


if __name__ == "__main__":
    main()
