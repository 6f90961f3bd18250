"""A layer around another server's app (ASGI): refuses what that server would read, or fail at, without a sentence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from llm.serving.limits import HttpError, MediaTypeError, ServerLimits, read_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """`app` (ASGI 3), asked only with bodies within the limits.

    A body that is too long or too slow, or that does not say what it is, is answered here: 413, 408, 415. JSON that is
    nested deeper than Python parses is answered with 400, where the app would end in an error of its own. The app gets
    the whole body at once.
    """

    def __init__(self, app: App, limits: ServerLimits | None = None) -> None:
        self._app = app
        self._limits = limits or ServerLimits()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if not headers.get("content-type"):
                raise MediaTypeError("there is no Content-Type", remedy="send Content-Type: application/json")
            body = await read_body(_chunks(receive), declared=headers.get("content-length"), limits=self._limits)
        except HttpError as error:
            await _reply(send, error.status, error.code, error.sentence)
            return
        except ConnectionError:
            return  # the client has gone, and nobody reads a reply
        try:
            await self._app(scope, _whole(body, receive), send)
        except RecursionError:
            await _reply(send, 400, "BAD_REQUEST", "the body's JSON is nested too deeply")


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The body as it comes; raises ConnectionError when the client leaves."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client has gone")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _whole(body: bytes, receive: Receive) -> Receive:
    """A body that has come already, then whatever the client does after it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


async def _reply(send: Send, status: int, code: str, sentence: str) -> None:
    body = json.dumps({"error_code": code, "message": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
