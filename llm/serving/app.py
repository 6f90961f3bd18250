"""The routes of MLflow's scoring server, and two more, over one model; fastapi is imported here and nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect

from llm import __version__
from llm.config import Config
from llm.errors import ConfigError, InputError, NightshiftError
from llm.predictor import Predictor
from llm.serving.batches import Batches
from llm.serving.limits import BusyError, HttpError, ServerLimits, check_media_type, read_body
from llm.serving.payload import parse
from llm.serving.tally import Tally

log = logging.getLogger(__name__)

# Pages of other sites, whose names may be made to mean this machine, are not to speak to it.
_HOSTS = ["127.0.0.1", "localhost"]
_JSON = "application/json"
_SHORT = 16 << 10  # bytes of a body that is read at once
_CLIENT_LEFT = 499
_SAFE = {"X-Content-Type-Options": "nosniff"}
_SLOW = BusyError("no answer within the longest wait", remedy="ask again in a moment, or send fewer texts")


def build_app(predictor: Predictor, *, name: str, limits: ServerLimits | None = None) -> FastAPI:
    """The server of a model; `name` is what `/model` says it is, such as "translation version 3"."""
    service = _Service(predictor, name, limits or ServerLimits())
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=service.lifespan)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)
    for path in ("/ping", "/health"):
        app.add_api_route(path, service.ping)
    app.add_api_route("/version", service.version)
    app.add_api_route("/model", service.model)
    app.add_api_route("/invocations", service.invocations, methods=["POST"])
    app.add_api_route("/stream", service.stream, methods=["POST"])
    return app


class _Service:
    """One model, the requests that it has, and the limits on them."""

    def __init__(self, predictor: Predictor, name: str, limits: ServerLimits) -> None:
        self._predictor = predictor
        self._name = name
        self._limits = limits
        self._batches = Batches(predictor, limits)
        self._tally = Tally()
        self._present = 0  # requests that are being read or wait

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncIterator[None]:
        """The model's thread runs while the server does."""
        self._batches.start()
        yield
        await asyncio.to_thread(self._batches.stop)
        self._tally.tell()

    async def ping(self) -> Response:
        """Whether the server answers."""
        return Response("\n", media_type=_JSON)

    async def version(self) -> Response:
        """Version of Nightshift."""
        return Response(__version__, media_type=_JSON)

    async def model(self) -> Response:
        """Which model this is, its parameters with their defaults, and the limits."""
        facts = {
            "model": self._name,
            "family": self._predictor.family.name,
            "params": self._predictor.family.params().model_dump(mode="json"),
            "limits": self._limits.model_dump(mode="json") | {"max_texts": self._predictor.max_texts},
        }
        return _reply(200, facts)

    async def invocations(self, request: Request) -> Response:
        """Answers: {"predictions": [...]}."""

        async def answer() -> tuple[Response, int]:
            texts, config = await self._read(request)
            answers = await self._wait(self._batches.submit(texts, config))
            return _reply(200, {"predictions": answers}), len(texts)

        return await self._handled(answer)

    async def stream(self, request: Request) -> Response:
        """The answer to one text as server-sent events: {"text": piece} each, then the event "end"."""

        async def answer() -> tuple[Response, int]:
            texts, config = await self._read(request)
            if len(texts) != 1:
                raise InputError(f"{len(texts)} texts, but one is streamed at a time", remedy="send one")
            stream = _Stream(asyncio.get_running_loop())
            stream.future = self._batches.submit_stream(texts[0], config, stream.put)
            stream.future.add_done_callback(stream.close)
            # What goes wrong before the first piece still has a status of its own.
            first = await stream.first(self._limits.wait_seconds)
            if isinstance(first, BaseException):
                raise first
            return StreamingResponse(stream.events(first), media_type="text/event-stream", headers=_SAFE), 1

        return await self._handled(answer)

    async def _read(self, request: Request) -> tuple[list[str], Config]:
        """Texts and parameters of a request, checked."""
        check_media_type(request.headers.get("content-type"))
        body = await read_body(request.stream(), declared=request.headers.get("content-length"), limits=self._limits)

        def check() -> tuple[list[str], Config]:
            payload = parse(body)
            config = self._predictor.parse_params(payload.params)
            self._predictor.check_count(payload.texts)
            self._predictor.check(payload.texts, config)
            return payload.texts, config

        # Long bodies are not to hold up the others; a short one is read faster than a thread is reached.
        return check() if len(body) < _SHORT else await asyncio.to_thread(check)

    async def _wait(self, future: Future[Any]) -> Any:
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._limits.wait_seconds)
        except TimeoutError:
            raise _SLOW from None

    async def _handled(self, answer: Callable[[], Awaitable[tuple[Response, int]]]) -> Response:
        """The reply of `answer`, or the one that says what went wrong; the server lives on."""
        begun = time.perf_counter()
        texts = 0
        try:
            if self._present >= self._limits.requests:
                raise BusyError(
                    f"{self._present} requests are being answered, and the server takes no more at once",
                    remedy="ask again in a moment",
                )
            self._present += 1
            try:
                reply, texts = await answer()
            finally:
                self._present -= 1
        except (ConfigError, InputError) as error:
            reply = _reply(400, {"error_code": "BAD_REQUEST", "message": error.sentence})
        except HttpError as error:
            reply = _refusal(error)
        except TimeoutError:
            reply = _refusal(_SLOW)
        except ClientDisconnect:
            reply = Response(status_code=_CLIENT_LEFT)  # nobody reads it, but it is counted
        except Exception:
            # The traceback is for us, not for whoever asked.
            log.exception("a request failed")
            message = "the server failed to answer: its log says why"
            reply = _reply(500, {"error_code": "INTERNAL_ERROR", "message": message})
        self._tally.add(status=reply.status_code, texts=texts, seconds=time.perf_counter() - begun)
        return reply


class _Stream:
    """Pieces on their way from the model's thread to one client."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = False
        self.pieces: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self.future: Future[None]

    def put(self, piece: str) -> None:
        """Called in the model's thread; raises when the client has gone, which ends the writing."""
        if self._left:
            raise ConnectionError("the client has gone")
        self._loop.call_soon_threadsafe(self.pieces.put_nowait, piece)

    def close(self, future: Future[None]) -> None:
        """Called when the writing has ended, with how."""
        end = None if future.cancelled() else future.exception()
        self._loop.call_soon_threadsafe(self.pieces.put_nowait, end)

    async def first(self, seconds: float) -> str | BaseException | None:
        """What comes first; raises TimeoutError, and ends the writing, when that takes longer."""
        try:
            return await asyncio.wait_for(self.pieces.get(), seconds)
        except TimeoutError:
            self._left = True
            self.future.cancel()
            raise

    async def events(self, first: str | None) -> AsyncIterator[str]:
        """Server-sent events, until the text ends or the client leaves."""
        try:
            piece: str | BaseException | None = first
            while isinstance(piece, str):
                yield _event({"text": piece})
                piece = await self.pieces.get()
            if piece is None:
                yield _event({}, kind="end")
            else:
                message = piece.sentence if isinstance(piece, NightshiftError) else "the server failed to go on"
                yield _event({"message": message}, kind="error")
        finally:
            self._left = True


def _event(data: dict[str, Any], *, kind: str | None = None) -> str:
    head = f"event: {kind}\n" if kind else ""
    return f"{head}data: {json.dumps(data)}\n\n"


def _reply(status: int, content: dict[str, Any], *, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, media_type=_JSON, headers=_SAFE | (headers or {}))


def _refusal(error: HttpError) -> Response:
    headers = {"Retry-After": str(error.retry_seconds)} if error.retry_seconds else None
    return _reply(error.status, {"error_code": error.code, "message": error.sentence}, headers=headers)
