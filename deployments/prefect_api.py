"""The Prefect server's REST API, for what starts before anything has imported prefect, which takes seconds."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http import HTTPStatus
from typing import Any

from deployments.processes import ServerError

_TIMEOUT_S = 30.0
_TRIES, _PAUSE_S = 10, 1.0


def ask(api: str, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The server's reply, as JSON values; None where it is empty.

    Asks again while its database is locked, in which case it has done nothing.

    Raises ServerError with the reply when it refuses, or when it does not answer.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310  (the address is our own server's)
        f"{api}/{path}", data=data, method=method, headers={"Content-Type": "application/json"}
    )
    pause = threading.Event()
    for more in reversed(range(_TRIES)):
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as reply:  # noqa: S310
                text = reply.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE and more:
                pause.wait(_PAUSE_S)
                continue
            # The body that was sent may hold the webhook's address, so it is not shown.
            told = error.read().decode(errors="replace")[:500]
            raise ServerError(
                f"the Prefect server refused {method} {path} ({error.code}): {told}", remedy="see logs/prefect.log"
            ) from None
        except OSError as error:
            raise ServerError(
                f"the Prefect server did not answer {method} {path}: {error}", remedy="see logs/prefect.log"
            ) from None
    raise AssertionError("the last try returns or raises")
