"""uvicorn's server, which looks once a second whether it should end, not ten times, and at once at a signal.

    python -m uvicorn --loop deployments.slow_ticks:make_loop ...

Those looks are most of what MLflow's server does while nobody asks it for anything, and a good part of what Prefect's
does.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

# So old may the date in the header of an answer be.
TICK_S = 1.0


def tick_slowly() -> None:
    """Have every server of uvicorn in this process tick once in TICK_S."""
    uvicorn.Server.main_loop = main_loop  # type: ignore[method-assign]


def make_loop() -> asyncio.AbstractEventLoop:
    """The event loop for uvicorn's option `--loop`; the server that asks for it ticks slowly from then on."""
    tick_slowly()
    return asyncio.new_event_loop()


async def main_loop(server: uvicorn.Server) -> None:
    """Serve until a signal, or until the server finds another reason to end."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    # uvicorn's own handlers set a flag, which nobody would see before the next tick.
    for number in HANDLED_SIGNALS:
        loop.add_signal_handler(number, partial(_end, server, signalled, number))
    while not await server.on_tick(0):  # 0: of ten ticks the one that renews the date
        with suppress(TimeoutError):
            await asyncio.wait_for(signalled.wait(), timeout=TICK_S)


def _end(server: uvicorn.Server, signalled: asyncio.Event, number: int) -> None:
    server.handle_exit(number, None)
    signalled.set()
