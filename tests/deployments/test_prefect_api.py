"""What the command line asks of the Prefect server: again while it is busy, and with its words when it refuses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deployments import prefect_api
from deployments.access import PREFECT_AUTH
from deployments.prefect_api import ask
from deployments.processes import ServerError


@pytest.fixture
def server(monkeypatch) -> Iterator[HTTPServer]:
    """Answers with the statuses in `server.statuses`, one after the other; `server.asked` is what it was asked."""
    monkeypatch.setattr(prefect_api, "_PAUSE_S", 0.0)
    monkeypatch.delenv(PREFECT_AUTH, raising=False)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self)  # type: ignore[attr-defined]
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(server.statuses.pop(0))  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(b'{"told": 1, "token": "t"}')

        do_POST = do_GET  # noqa: N815  (the name is http.server's)

        def log_message(self, *_: object) -> None:
            """Not into the output of the tests."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        server.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def api(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_locked_database_is_waited_for(server):
    server.statuses = [503, 503, 200]
    assert ask(api(server), "GET", "deployments")["told"] == 1


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


def test_without_a_password_nothing_is_signed(server):
    server.statuses = [200]
    ask(api(server), "POST", "flows/", {})
    [asked] = server.asked
    assert "Authorization" not in asked.headers
    assert "Prefect-Csrf-Token" not in asked.headers


def test_with_a_password_every_request_is_signed_and_a_change_shows_the_token_that_it_got(server, monkeypatch):
    monkeypatch.setenv(PREFECT_AUTH, "me:secret")
    server.statuses = [200, 200, 200]
    ask(api(server), "GET", "flows")
    ask(api(server), "POST", "flows/", {})
    read, token, change = server.asked
    assert {one.headers["Authorization"] for one in server.asked} == {"Basic bWU6c2VjcmV0"}
    assert "Prefect-Csrf-Token" not in read.headers
    assert token.path == f"/csrf-token?client={change.headers['Prefect-Csrf-Client']}"
    assert change.headers["Prefect-Csrf-Token"] == "t"


def test_a_server_with_a_password_and_without_tokens_is_asked_all_the_same(server, monkeypatch):
    monkeypatch.setenv(PREFECT_AUTH, "me:secret")
    server.statuses = [422, 200]
    assert ask(api(server), "POST", "flows/", {})["told"] == 1


def test_a_wrong_password_is_told(server, monkeypatch):
    monkeypatch.setenv(PREFECT_AUTH, "me:wrong")
    server.statuses = [401]
    with pytest.raises(ServerError, match=r"refused POST flows/ \(401\)"):
        ask(api(server), "POST", "flows/", {})


@pytest.mark.parametrize(
    "reply",
    [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 200 OK\r\n\r\n{"],
    ids=["nothing", "no HTTP", "half a body", "half a value"],
)
def test_a_server_that_dies_in_the_middle_of_its_reply_did_not_answer(reply: bytes, monkeypatch) -> None:
    monkeypatch.delenv(PREFECT_AUTH, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ServerError, match="the Prefect server did not answer GET deployments"):
            ask(f"http://127.0.0.1:{listener.getsockname()[1]}", "GET", "deployments")
        thread.join()
