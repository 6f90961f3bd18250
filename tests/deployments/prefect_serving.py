"""A Prefect server on loopback with a home of its own, for tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rest import free_port

from deployments.environment import answers
from deployments.servers import Ports, prefect_server, server_environment, wait_until


@contextmanager
def prefect_serves(home: Path) -> Iterator[str]:
    """Inside, the server answers; gives the address of its API."""
    ports = Ports(prefect=free_port(), mlflow=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(home))
        environment = server_environment(os.environ, ports) | {"PREFECT_HOME": str(home), "DO_NOT_TRACK": "true"}
        server = prefect_server(ports, environment)
    try:
        wait_until(lambda: answers(f"{ports.prefect_url}/api/health"), server)
        yield f"{ports.prefect_url}/api"
    finally:
        server.stop()
