"""A body of a gigabyte, sent by hand to a server on loopback, for tests."""

from __future__ import annotations

import select
import socket
from contextlib import suppress

_LONGEST_S = 60.0
_CHUNK = 1 << 16
_HEAD = (
    b"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def assert_a_gigabyte_is_refused_while_it_comes(port: int) -> None:
    """The reply is 413, and it comes before a quarter of the body has been sent."""
    chunk = f"{_CHUNK:x}\r\n".encode() + b"a" * _CHUNK + b"\r\n"
    reply, sent_by_then = b"", 0
    with socket.create_connection(("127.0.0.1", port), _LONGEST_S) as raw:
        raw.sendall(_HEAD)
        # Once it has refused, the server may hang up on a client that goes on.
        with suppress(ConnectionError):
            for number in range((1 << 30) // _CHUNK):
                raw.sendall(chunk)
                if not reply and select.select([raw], [], [], 0)[0]:
                    reply, sent_by_then = raw.recv(4096), (number + 1) * _CHUNK
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert sent_by_then < 1 << 28
