"""A model served on loopback until SIGTERM or Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from llm.errors import ConfigError
from llm.predictor import Predictor
from llm.serving.limits import ServerLimits

if TYPE_CHECKING:
    import uvicorn

# No other address can be asked for: there is no login. Whoever wants one puts a proxy with a login in front.
HOST = "127.0.0.1"
_GRACE_S = 10


def open_port(port: int) -> socket.socket:
    """A listening socket on loopback; 0 takes any free port.

    Raises ConfigError when the port cannot be had.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # As servers do: a port in TIME_WAIT after a restart is free.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"port {port} on {HOST} cannot be used ({error.strerror})", remedy="stop what uses it, or name another"
        ) from None
    return listening


def make_server(predictor: Predictor, *, name: str, limits: ServerLimits | None = None) -> uvicorn.Server:
    """The server of a model, to be run on sockets of `open_port`; `name` is what it says it serves."""
    # Imported here: a pulled model is to work without the two packages.
    import uvicorn

    from llm.serving.app import build_app

    config = uvicorn.Config(
        build_app(predictor, name=name, limits=limits),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="on",
        ws="none",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
    return uvicorn.Server(config)


def serve(predictor: Predictor, *, name: str, listening: socket.socket, ready: Callable[[str], None]) -> None:
    """Answer on `listening` until a signal ends it; `ready` is told the address. Requests that run are finished first.

    The signal is raised again at the end: SIGINT as KeyboardInterrupt, SIGTERM as whatever the process does with it.
    """
    server = make_server(predictor, name=name)
    ready(f"http://{HOST}:{listening.getsockname()[1]}")
    server.run(sockets=[listening])
