"""uvicorn's server looks once a second whether it should end, and ends at once when it is told to."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import uvicorn
from rest import TIMEOUT_S, free_port, poll
from uvicorn.importer import import_from_string

from deployments import slow_ticks
from deployments.servers import UVICORN_LOOP

# A server that would look again in a day.
SERVER = """
import sys
from datetime import timedelta
import uvicorn
from deployments import slow_ticks

async def application(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"here"})

slow_ticks.TICK_S = timedelta(days=1).total_seconds()
uvicorn.run(application, port=int(sys.argv[1]), loop=sys.argv[2], lifespan="off")
"""


@pytest.fixture
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn's server is as it was afterwards."""
    monkeypatch.setattr(uvicorn.Server, "main_loop", uvicorn.Server.main_loop)


class Counting(uvicorn.Server):
    """Ends by itself at its third tick, and remembers what date it would have sent after each."""

    def __init__(self) -> None:
        super().__init__(uvicorn.Config(str))
        self.dates: list[bytes] = []

    async def on_tick(self, counter: int) -> bool:
        self.server_state.default_headers = []
        assert not await super().on_tick(counter)
        self.dates.append(dict(self.server_state.default_headers)[b"date"])
        return len(self.dates) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_however_seldom_it_ticks(number: signal.Signals, tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port), UVICORN_LOOP]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            assert answer(port, process, tmp_path / "log") == (b"here", True)
            process.send_signal(number)
            process.wait(TIMEOUT_S)
        finally:
            process.kill()
    assert "Finished server process" in (tmp_path / "log").read_text()


@pytest.mark.usefixtures("unchanged")
def test_each_tick_renews_the_date_and_the_server_may_end_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_ticks, "TICK_S", 0.001)
    server = Counting()
    asyncio.run(slow_ticks.main_loop(server))
    assert len(server.dates) == 3


@pytest.mark.usefixtures("unchanged")
def test_the_option_that_mlflow_gets_names_a_loop_that_makes_the_server_tick_slowly() -> None:
    assert import_from_string(UVICORN_LOOP) is slow_ticks.make_loop
    slow_ticks.make_loop().close()
    assert uvicorn.Server.main_loop is slow_ticks.main_loop
    assert slow_ticks.TICK_S == 1.0


def answer(port: int, process: subprocess.Popen[bytes], log: Path) -> tuple[bytes, bool]:
    """What the server says once it answers, and whether with a date."""

    def ask() -> tuple[bytes, bool] | None:
        assert process.poll() is None, log.read_text()
        address = f"http://127.0.0.1:{port}"
        with suppress(urllib.error.URLError), urllib.request.urlopen(address, timeout=TIMEOUT_S) as response:
            return response.read(), bool(response.headers["date"])
        return None

    found: tuple[bytes, bool] = poll(ask)
    return found
