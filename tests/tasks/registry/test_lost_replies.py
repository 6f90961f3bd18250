"""A real MLflow server behind a real proxy that swallows its reply each time a version or a run has been made.

NIGHTSHIFT_TEST_SCALE=8 makes it eighty registrations.
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.registry.connection import client
from tasks.registry.runs import TRAINING_KEY, training_run
from tasks.registry.versions import Measured, register

pytestmark = pytest.mark.slow

KEYS = [f"k{number}" for number in range(10 * int(os.environ.get("NIGHTSHIFT_TEST_SCALE", "1")))]
CREATE = "/api/2.0/mlflow/model-versions/create"
CREATE_RUN = "/api/2.0/mlflow/runs/create"
LINK = "/api/2.0/mlflow/runs/outputs"
# Of a connection, not of the message on it.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class LosingProxy(ThreadingHTTPServer):
    """Passes requests on to MLflow and replies back, but for those to requests that make something: `lost`."""

    daemon_threads = True

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.lost: Counter[str] = Counter()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: LosingProxy

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        upstream.request(self.command, self.path, body=body, headers=headers)
        reply = upstream.getresponse()
        content = reply.read()
        upstream.close()
        if self.path in (CREATE, CREATE_RUN, LINK):
            assert reply.status == 200, content
            self.server.lost[self.path] += 1
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        """Nothing on stderr for each request."""


@pytest.fixture
def mlflow_server(home: Path) -> Iterator[int]:
    """The port of an MLflow server on the empty registry of `home`; it ends with the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    database = home / "mlflow" / "mlflow.db"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(home / "artifacts")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "DO_NOT_TRACK": "true"}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    try:
        wait_until_it_answers(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes]) -> None:
    pause = threading.Event()
    for _ in range(600):
        assert process.poll() is None, "the MLflow server has ended"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10):
                return
        except OSError:
            pause.wait(0.2)
    raise AssertionError("the MLflow server does not answer")


@pytest.fixture
def proxy(mlflow_server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[LosingProxy]:
    """The proxy before that server, and MLFLOW_TRACKING_URI naming it."""
    with LosingProxy(mlflow_server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", running.url)
        # One repetition is enough to make a second version; seven, with pauses that double, only take minutes.
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        yield running
        running.shutdown()
        thread.join()


def test_registrations_whose_replies_are_lost_make_one_version_for_each_key(proxy, identity, model):
    measured = Measured(metrics={"bleu": 21.5}, baselines={}, test_split="c0ffee")
    with training_run(identity("run")) as run:
        for key in KEYS:
            register(run, model(key), measured, step=100)
    assert proxy.lost == {CREATE: len(KEYS), CREATE_RUN: 1, LINK: len(KEYS)}
    (made,) = client().search_runs([client().get_experiment_by_name("translation").experiment_id])
    assert (made.info.run_id, made.info.status) == (run.run_id, "FINISHED")
    assert len({output.model_id for output in made.outputs.model_outputs}) == len(KEYS)
    versions = client().search_model_versions("name = 'translation'")
    assert Counter(version.tags[TRAINING_KEY] for version in versions) == Counter(KEYS)
