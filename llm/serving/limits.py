"""What a server takes, how long it lets a request wait, and how it says no."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import ClassVar

from pydantic import Field

from llm.config import Config
from llm.errors import NightshiftError


class ServerLimits(Config):
    """Bounds on what one client can cost; each is told in the reply that refuses."""

    body_bytes: int = Field(4 << 20, ge=1, description="longest body of a request")
    body_seconds: float = Field(30.0, gt=0, description="longest time that a client may take to send it")
    requests: int = Field(256, ge=1, description="requests that may be read or wait at once; more are sent away")
    wait_seconds: float = Field(60.0, gt=0, description="longest wait for an answer")
    batch_texts: int = Field(64, ge=1, description="texts of waiting requests that are answered together")


class HttpError(NightshiftError):
    """A request that is refused for another reason than its input, with the status of the reply."""

    status: ClassVar[int]
    code: ClassVar[str]
    retry_seconds: ClassVar[int | None] = None


class TooLargeError(HttpError):
    """The body is longer than `body_bytes`."""

    status = 413
    code = "REQUEST_TOO_LARGE"


class TooSlowError(HttpError):
    """The body did not come within `body_seconds`."""

    status = 408
    code = "REQUEST_TIMEOUT"


class MediaTypeError(HttpError):
    """The body is not said to be JSON in UTF-8."""

    status = 415
    code = "UNSUPPORTED_MEDIA_TYPE"


class BusyError(HttpError):
    """There is no room, or no time, for one more request."""

    status = 503
    code = "TEMPORARILY_UNAVAILABLE"
    retry_seconds = 1


async def read_body(chunks: AsyncIterator[bytes], *, declared: str | None, limits: ServerLimits) -> bytes:
    """The body, which is never held beyond the limit: what is declared too long is not read, and what comes is counted.

    `declared` is the header Content-Length. Raises TooLargeError or TooSlowError.
    """
    too_large = TooLargeError(
        f"the body is longer than {limits.body_bytes} bytes", remedy="send fewer or shorter texts in one request"
    )
    if declared is not None and declared.isdecimal() and int(declared) > limits.body_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in chunks:
                body += chunk
                if len(body) > limits.body_bytes:
                    raise too_large
    except TimeoutError:
        raise TooSlowError(
            f"the body did not arrive within {limits.body_seconds:g} s", remedy="send it faster, or in several requests"
        ) from None
    return bytes(body)


def check_media_type(header: str | None) -> None:
    """Raise MediaTypeError unless the header Content-Type says JSON, in UTF-8 if it names an encoding."""
    kind, *rest = [part.strip().lower() for part in (header or "").split(";")]
    encodings = [part.partition("=")[2].strip('" ') for part in rest if part.startswith("charset=")]
    if kind != "application/json" or any(encoding not in ("utf-8", "utf8") for encoding in encodings):
        said = f"Content-Type is {header!r:.80}" if header else "there is no Content-Type"
        raise MediaTypeError(f"{said}, but the body must be JSON", remedy="send Content-Type: application/json")
