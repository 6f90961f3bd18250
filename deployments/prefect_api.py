"""The Prefect server's REST API, for what starts before anything has imported prefect, which takes seconds."""

from __future__ import annotations

import base64
import json
import os
import threading
import urllib.error
import urllib.request
import uuid
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from deployments.access import PREFECT_AUTH
from deployments.processes import ServerError

_TIMEOUT_S = 30.0
_TRIES, _PAUSE_S = 10, 1.0


class RefusedError(ServerError):
    """The server understood, and does not do it."""


def ask(api: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The server's reply, as JSON values; None where it is empty.

    Signs in with "user:password" of the environment variable PREFECT_API_AUTH_STRING, where it is set. Asks again while
    the server's database is locked, in which case it has done nothing.

    Raises RefusedError with the reply when it refuses, another ServerError when it fails or does not answer.
    """
    pause = threading.Event()
    for more in reversed(range(_TRIES)):
        try:
            return _send(api, method, path, body, _signed(api, method))
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE and more:
                pause.wait(_PAUSE_S)
                continue
            # The body that was sent may hold the webhook's address, so it is not shown.
            told = error.read().decode(errors="replace")[:500]
            kind = RefusedError if error.code < HTTPStatus.INTERNAL_SERVER_ERROR else ServerError
            raise kind(
                f"the Prefect server refused {method} {path} ({error.code}): {told}", remedy="see logs/prefect.log"
            ) from None
        except (OSError, HTTPException, ValueError) as error:  # away, or gone in the middle of its reply
            raise ServerError(
                f"the Prefect server did not answer {method} {path}: {error}", remedy="see logs/prefect.log"
            ) from None
    raise AssertionError("the last try returns or raises")


def _signed(api: str, method: str) -> dict[str, str]:
    """The headers that let a request in: none where this process has no password."""
    auth = os.environ.get(PREFECT_AUTH)
    if not auth:
        return {}
    headers = {"Authorization": f"Basic {base64.b64encode(auth.encode()).decode()}"}
    return headers if method == "GET" else headers | _against_forgery(api, headers)


def _against_forgery(api: str, headers: dict[str, str]) -> dict[str, str]:
    """What a server with CSRF protection wants to see in a request that changes something: a token that it gave."""
    client = str(uuid.uuid4())
    try:
        token = _send(api, "GET", f"csrf-token?client={client}", None, headers)["token"]
    except urllib.error.HTTPError as error:
        if error.code == HTTPStatus.UNPROCESSABLE_ENTITY:
            return {}  # the server's word for having no such protection
        raise
    return {"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": client}


def _send(api: str, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  (the address is our own server's)
        f"{api}/{path}", data=data, method=method, headers={"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
        text = reply.read()
    return json.loads(text) if text else None
