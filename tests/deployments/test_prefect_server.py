"""Prefect's server looks for background work every five seconds, and misses none of it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from docket import Docket
from rest import TIMEOUT_S

from deployments.prefect_server import PatientWorker

NEVER = timedelta(days=1)


def test_prefect_makes_its_worker_of_our_class() -> None:
    script = (
        "from deployments.prefect_server import be_patient\n"
        "be_patient()\n"
        "from prefect.server.api import background_workers\n"
        "print(background_workers.Worker.__name__)\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == PatientWorker.__name__


def test_the_server_ticks_slowly_and_evaluates_once_a_minute() -> None:
    script = (
        "import asyncio, contextlib\n"
        "from deployments.prefect_server import be_patient\n"
        "be_patient()\n"
        "import uvicorn\n"
        "from prefect.server.events import triggers\n"
        "print(uvicorn.Server.main_loop.__module__)\n"
        "async def pause(seconds):\n"
        "    print(seconds)\n"
        "    raise asyncio.CancelledError\n"
        "async def look(_now):\n"
        "    print('looks')\n"
        "triggers.asyncio.sleep, triggers.periodic_evaluation = pause, look\n"
        "with contextlib.suppress(asyncio.CancelledError):\n"
        "    asyncio.run(triggers.evaluate_periodically('every five seconds'))\n"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["deployments.slow_ticks", "looks", "60.0"]


def test_it_looks_every_five_seconds_for_due_and_for_new_work_and_tells_once_a_minute_that_it_lives() -> None:
    async def intervals() -> tuple[timedelta, timedelta, timedelta]:
        async with Docket(name="intervals", url="memory://") as queue, PatientWorker(queue) as worker:
            return worker.minimum_check_interval, worker.scheduling_resolution, queue.heartbeat_interval

    assert asyncio.run(intervals()) == (timedelta(seconds=5), timedelta(seconds=5), timedelta(minutes=1))


def test_it_does_not_listen_for_work_to_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Docket] = []
    monkeypatch.setattr(Docket, "_pubsub", lambda queue: opened.append(queue))

    async def add(queue: Docket, work: Callable[[], Awaitable[None]]) -> None:
        await queue.add(work)()

    assert done(add)
    assert opened == []


def test_work_for_now_is_begun_at_once_however_seldom_it_looks() -> None:
    async def add(queue: Docket, work: Callable[[], Awaitable[None]]) -> None:
        await queue.add(work)()

    assert done(add, minimum_check_interval=NEVER, scheduling_resolution=NEVER)


def test_work_for_later_is_begun_when_it_is_due() -> None:
    async def add(queue: Docket, work: Callable[[], Awaitable[None]]) -> None:
        await queue.add(work, when=datetime.now(UTC) + timedelta(milliseconds=300))()

    assert done(add)


def done(add: Callable[[Docket, Callable[[], Awaitable[None]]], Awaitable[None]], **intervals: timedelta) -> bool:
    """Whether a running worker did what `add` put into its queue, twice."""

    async def watch() -> bool:
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()

        async with Docket(name="work", url="memory://") as queue:
            queue.register(work)
            async with PatientWorker(queue, **intervals) as worker:
                running = asyncio.create_task(worker.run_forever())
                for _ in range(2):  # the second time the worker waits already
                    begun.clear()
                    await add(queue, work)
                    await asyncio.wait_for(begun.wait(), timeout=TIMEOUT_S)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        return begun.is_set()

    return asyncio.run(watch())
