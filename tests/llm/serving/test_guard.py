"""The layer around another server's app, message by message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from llm.serving.guard import Guard, Message, Receive, Send
from llm.serving.limits import ServerLimits

JSON = (b"content-type", b"application/json")
LIMITS = ServerLimits(body_bytes=10, body_seconds=0.05)


class Echo:
    """An app that sends its body back, and remembers that it was asked."""

    def __init__(self, raises: Exception | None = None) -> None:
        self.asked: list[bytes] = []
        self._raises = raises

    async def __call__(self, _scope: Message, receive: Receive, send: Send) -> None:
        if self._raises:
            raise self._raises
        message = await receive()
        assert not message["more_body"]
        self.asked.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})


def post(
    app: Any, body: Iterable[bytes], *, headers: Iterable[tuple[bytes, bytes]] = (JSON,), **scope: Any
) -> tuple[int | None, bytes]:
    """Status and body of the reply; no status where nothing was sent."""
    parts = list(body)
    incoming = [
        {"type": "http.request", "body": part, "more_body": number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    request = {"type": "http", "method": "POST", "headers": list(headers)} | scope
    asyncio.run(Guard(app, LIMITS)(request, receive, send))
    status = next((message["status"] for message in sent if message["type"] == "http.response.start"), None)
    return status, b"".join(message.get("body", b"") for message in sent)


def refusal(reply: tuple[int | None, bytes]) -> tuple[int | None, str]:
    return reply[0], json.loads(reply[1])["message"]


def test_a_body_within_the_limit_reaches_the_app_whole():
    app = Echo()
    assert post(app, [b"12345", b"67890"]) == (200, b"1234567890")
    assert app.asked == [b"1234567890"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [([b"123456", b"78901", b"never read"], (JSON,)), ([b"1"], (JSON, (b"content-length", b"11")))],
    ids=["counted", "declared"],
)
def test_a_body_beyond_the_limit_is_answered_with_413_and_never_reaches_the_app(body, headers):
    app = Echo()
    status, message = refusal(post(app, body, headers=headers))
    assert status == 413
    assert "longer than 10 bytes" in message
    assert not app.asked


def test_a_body_without_a_content_type_is_answered_with_415():
    app = Echo()
    status, message = refusal(post(app, [b"1"], headers=()))
    assert status == 415
    assert "there is no Content-Type" in message
    assert not app.asked


def test_a_body_that_is_nested_deeper_than_python_parses_is_answered_with_400():
    status, message = refusal(post(Echo(RecursionError("maximum recursion depth exceeded")), [b"[[[["]))
    assert status == 400
    assert "nested too deeply" in message


def test_what_else_goes_wrong_in_the_app_is_left_to_its_server():
    with pytest.raises(ZeroDivisionError):
        post(Echo(ZeroDivisionError()), [b"1"])


def test_nothing_is_sent_to_a_client_that_left():
    app = Echo()
    assert post(app, []) == (None, b"")
    assert not app.asked


def test_a_body_that_does_not_come_is_answered_with_408():
    async def silent() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Guard(Echo(), LIMITS)({"type": "http", "method": "POST", "headers": [JSON]}, silent, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("scope", [{"method": "GET"}, {"type": "lifespan", "method": None}])
def test_what_has_no_body_is_handed_on_untouched(scope):
    app = Echo()
    assert post(app, [b"longer than ten bytes"], headers=(), **scope) == (200, b"longer than ten bytes")
