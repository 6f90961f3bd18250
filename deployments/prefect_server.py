"""Prefect's command line for its server, whose queue of background work is looked at less often.

    python -m deployments.prefect_server server start

The server asks the queue for due work, for new work and for work to cancel four to ten times a second each, for which
Prefect has no setting. Of all that a server that waits takes of a core, this is half; and beside a training it counts
for more, since each of its threads waits for the slowest.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import docket

# Work that is due at a time starts about so much late; what is to be done at once does not wait, unless ten pieces of
# work are being done already.
EVERY = timedelta(seconds=2)


class PatientWorker(docket.Worker):
    """docket's worker for Prefect's server, which cancels nothing in that queue: flow runs are cancelled elsewhere."""

    def __init__(self, docket: docket.Docket, **options: Any) -> None:
        super().__init__(docket, **{"minimum_check_interval": EVERY, "scheduling_resolution": EVERY} | options)

    async def _cancellation_listener(self) -> None:
        session = self._processing_session
        if session is not None:
            session.cancellation_ready.set()  # else no work is begun
            await session.stopping.wait()


def be_patient() -> None:
    """Have Prefect's server, which must not be imported yet, make its worker of our class."""
    docket.Worker = PatientWorker  # the name by which Prefect imports it


def main() -> None:
    """Run the command line that `prefect` is."""
    be_patient()
    from prefect.cli import app

    app()


if __name__ == "__main__":
    main()
