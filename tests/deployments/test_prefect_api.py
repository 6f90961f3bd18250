"""What the command line asks of the Prefect server: again while it is busy, and with its words when it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployments import prefect_api
from deployments.prefect_api import ask
from deployments.processes import ServerError


@pytest.fixture
def server(monkeypatch) -> Iterator[HTTPServer]:
    """Answers with the statuses in `server.statuses`, one after the other."""
    monkeypatch.setattr(prefect_api, "_PAUSE_S", 0.0)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(server.statuses.pop(0))  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(b'{"told": 1}')

        def log_message(self, *_: object) -> None:
            """Not into the output of the tests."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def api(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_locked_database_is_waited_for(server):
    server.statuses = [503, 503, 200]
    assert ask(api(server), "GET", "deployments") == {"told": 1}


def test_one_that_stays_locked_is_told(server):
    server.statuses = [503] * 11
    with pytest.raises(ServerError, match=r"refused GET deployments \(503\)"):
        ask(api(server), "GET", "deployments")
    assert len(server.statuses) == 1


def test_a_refusal_is_told_at_once(server):
    server.statuses = [422, 200]
    with pytest.raises(ServerError, match=r"refused GET deployments \(422\): .*told"):
        ask(api(server), "GET", "deployments")
    assert server.statuses == [200]
