"""Bodies are counted while they come; headers are read as HTTP means them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from llm.serving.limits import MediaTypeError, ServerLimits, TooLargeError, TooSlowError, check_media_type, read_body

LIMITS = ServerLimits(body_bytes=10, body_seconds=0.05)


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x"


async def silent() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


async def never_read() -> AsyncIterator[bytes]:
    raise AssertionError("read")
    yield b""


def read(body: AsyncIterator[bytes], declared: str | None = None) -> bytes:
    return asyncio.run(read_body(body, declared=declared, limits=LIMITS))


def test_a_body_up_to_the_limit_is_read_whole():
    assert read(chunks(b"12345", b"", b"67890")) == b"1234567890"
    assert read(chunks(), declared="0") == b""


def test_a_body_that_grows_too_long_is_refused_with_the_limit():
    with pytest.raises(TooLargeError, match="longer than 10 bytes"):
        read(endless())


def test_a_body_that_is_declared_too_long_is_not_read():
    with pytest.raises(TooLargeError, match="longer than 10 bytes"):
        read(never_read(), declared="11")


@pytest.mark.parametrize("declared", ["1", "-1", "many", None])
def test_what_comes_counts_and_not_what_was_declared(declared):
    with pytest.raises(TooLargeError):
        read(chunks(b"123456", b"78901"), declared=declared)


def test_a_body_that_does_not_come_is_given_up():
    with pytest.raises(TooSlowError, match=r"within 0\.05 s"):
        read(silent())


@pytest.mark.parametrize(
    "header", ["application/json", "Application/JSON; charset=utf-8", 'application/json;charset="UTF-8"']
)
def test_json_in_utf_8_is_taken(header):
    check_media_type(header)


@pytest.mark.parametrize("header", [None, "", "text/plain", "text/csv", "application/json; charset=latin-1", "json"])
def test_anything_else_is_refused_with_what_to_send(header):
    with pytest.raises(MediaTypeError, match="but the body must be JSON") as caught:
        check_media_type(header)
    assert caught.value.status == 415
    assert "Content-Type: application/json" in caught.value.remedy
