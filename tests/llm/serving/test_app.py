"""Our server for real, on loopback: many clients, clients that misbehave, and text as it is written."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gigabyte import assert_a_gigabyte_is_refused_while_it_comes
from watched import Watched

from llm import __version__
from llm.predictor import Predictor

LONGEST_S = 60.0
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def predictor(generator_folder: Path) -> Watched:
    return Watched(**vars(Predictor.load(generator_folder, device="cpu")))


@pytest.fixture(scope="module")
def port(served: Callable[..., int], predictor: Watched) -> int:
    return served(predictor)


def call(
    port: int, path: str, body: Any = None, headers: dict[str, str] = JSON, **options: Any
) -> tuple[int, str, dict[str, str]]:
    """Status, body and headers (by name in lower case) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_S)
    data = json.dumps(body) if isinstance(body, dict) else body
    try:
        connection.request("GET" if body is None else "POST", path, data, headers, **options)
        reply = connection.getresponse()
        return reply.status, reply.read().decode(), {name.lower(): value for name, value in reply.getheaders()}
    finally:
        connection.close()


def ask(port: int, texts: list[str], **params: Any) -> list[str]:
    status, body, _ = call(port, "/invocations", {"inputs": texts, "params": {"max_new_tokens": 6, **params}})
    assert status == 200, body
    found: list[str] = json.loads(body)["predictions"]
    return found


def head(path: str, *headers: str) -> bytes:
    """What stands before a body that a test sends by hand."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


def alive(port: int) -> bool:
    return call(port, "/ping")[0] == 200 and len(ask(port, ["apple"])) == 1


def test_the_routes_of_mlflow_are_there_and_nothing_else(port):
    assert [call(port, path)[0] for path in ("/ping", "/health", "/version", "/", "/docs", "/openapi.json")] == [
        200,
        200,
        200,
        404,
        404,
        404,
    ]
    assert call(port, "/version")[1] == __version__
    assert call(port, "/invocations")[0] == 405


def test_the_model_says_what_it_is_and_what_it_takes(port, predictor):
    facts = json.loads(call(port, "/model")[1])
    assert (facts["model"], facts["family"]) == ("toy version 1", "generation")
    assert facts["params"]["max_new_tokens"] == 96
    assert facts["limits"]["max_texts"] == 4096


def test_fifty_clients_at_once_get_the_answers_they_get_alone(port, predictor):
    texts = [[f"apple {number}", "saw"][: 1 + number % 2] for number in range(50)]
    calls = len(predictor.calls)
    together = threading.Barrier(50)

    def client(request: list[str]) -> list[str]:
        together.wait(LONGEST_S)
        return ask(port, request)

    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(client, texts))
    assert found == [predictor.predict(request, max_new_tokens=6) for request in texts]
    assert len(predictor.calls) - calls < 50


def test_a_gigabyte_is_refused_while_it_comes_and_the_server_lives_on(port):
    assert_a_gigabyte_is_refused_while_it_comes(port)
    assert alive(port)


def test_a_body_that_is_declared_too_long_is_refused_before_it_comes(port):
    with socket.create_connection(("127.0.0.1", port), LONGEST_S) as raw:
        raw.sendall(head("/invocations", "Content-Length: 1073741824"))
        assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert alive(port)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 not http\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    ],
    ids=["no http", "bad length"],
)
def test_what_is_no_http_is_answered_with_400_and_the_server_lives_on(port, sent):
    with socket.create_connection(("127.0.0.1", port), LONGEST_S) as raw:
        raw.sendall(sent)
        assert raw.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert alive(port)


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(port):
    with socket.create_connection(("127.0.0.1", port), LONGEST_S) as raw:
        raw.sendall(head("/invocations", "Content-Length: 100") + b"{")
    assert alive(port)


def test_a_body_that_does_not_come_is_given_up(served, predictor):
    port = served(predictor, body_seconds=0.05)
    with socket.create_connection(("127.0.0.1", port), LONGEST_S) as raw:
        raw.sendall(head("/invocations", "Content-Length: 100") + b"{")
        assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")
    assert alive(port)


def test_a_page_of_another_name_is_not_answered(port):
    assert call(port, "/ping", headers={"Host": "evil.example"})[0] == 400
    assert call(port, "/ping", headers={"Host": f"localhost:{port}"})[0] == 200


def test_a_failure_of_ours_is_logged_with_its_traceback_and_told_without(port, caplog):
    status, body, _ = call(port, "/invocations", {"inputs": ["poison"]})
    assert status == 500
    assert json.loads(body) == {
        "error_code": "INTERNAL_ERROR",
        "message": "the server failed to answer: its log says why",
    }
    assert "RuntimeError: poisoned" in caplog.text
    assert alive(port)


def test_a_server_with_no_room_says_when_to_ask_again(served, predictor):
    port = served(predictor, requests=1)
    with socket.create_connection(("127.0.0.1", port), LONGEST_S) as raw:
        raw.sendall(head("/invocations", "Expect: 100-continue", "Content-Length: 20"))
        # The server asks for the body: from now on this request has the only place.
        assert raw.recv(4096).startswith(b"HTTP/1.1 100 ")
        status, body, headers = call(port, "/invocations", {"inputs": ["apple"]})
        assert (status, headers["retry-after"]) == (503, "1")
        assert "1 requests are being answered" in json.loads(body)["message"]
        raw.sendall(b'{"inputs":["apple"]} ')
        assert raw.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert alive(port)


def test_who_waits_too_long_is_told(served, predictor):
    closed = threading.Event()
    port = served(Watched(**vars(predictor) | {"gate": closed}), wait_seconds=0.05)
    try:
        # The second waits behind the first, which the model still has.
        for path in ("/invocations", "/stream"):
            status, body, headers = call(port, path, {"inputs": ["apple"], "params": {"max_new_tokens": 6}})
            assert (status, headers["retry-after"]) == (503, "1")
            assert json.loads(body)["message"].startswith("no answer within the longest wait")
    finally:
        closed.set()


def events(text: str) -> list[tuple[str, dict[str, str]]]:
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines.get("event", "message"), json.loads(lines["data"])))
    return found


def test_a_text_is_streamed_in_pieces_that_are_the_answer(port, predictor):
    params = {"max_new_tokens": 30}
    status, body, headers = call(port, "/stream", {"inputs": "apple", "params": params})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    *pieces, end = events(body)
    assert end == ("end", {})
    assert {kind for kind, _ in pieces} == {"message"}
    assert len(pieces) > 1
    assert "".join(data["text"] for _, data in pieces) == predictor.predict(["apple"], **params)[0]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"inputs": ["apple", "pear"]}, "2 texts, but one is streamed at a time"),
        ({"inputs": [""]}, "text 0 is empty"),
        ({"inputs": "apple", "params": {"temperatur": 1}}, "no option 'temperatur'"),
        ({"inputs": "apple " * 300}, "tokens, and the model takes 160"),
    ],
)
def test_a_stream_that_cannot_begin_has_a_status_of_its_own(port, body, problem):
    status, text, _ = call(port, "/stream", body)
    assert status == 400
    assert problem in json.loads(text)["message"]


def test_a_reader_that_leaves_its_stream_harms_nobody(port):
    body = json.dumps({"inputs": "apple", "params": {"max_new_tokens": 200}}).encode()
    with socket.create_connection(("127.0.0.1", port), LONGEST_S) as raw:
        raw.sendall(head("/stream", f"Content-Length: {len(body)}") + body)
        assert raw.recv(4096).startswith(b"HTTP/1.1 200 ")
    assert alive(port)


def test_a_pulled_model_needs_neither_of_the_servers_packages():
    script = (
        "import sys, llm.predictor, llm.serving.server; print({'fastapi', 'uvicorn', 'starlette'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
