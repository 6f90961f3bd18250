"""How tests speak to servers on loopback."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

TIMEOUT_S = 180


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    text = answer_to(urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})).decode()
    return json.loads(text) if text.startswith(("{", "[")) else text


def answer_to(request: urllib.request.Request) -> bytes:
    """The body of the answer; asked again while Prefect's database is locked (503), in which case nothing was done."""
    pause = threading.Event()
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                body: bytes = reply.read()
                return body
        except urllib.error.HTTPError as error:
            with error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
        pause.wait(0.5)


def poll(what: Callable[[], Any]) -> Any:
    """Ask until the answer is true; fail after three minutes."""
    pause = threading.Event()
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := what()):
        assert time.monotonic() < deadline, "not within three minutes"
        pause.wait(0.5)
    return found
