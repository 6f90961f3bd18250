"""`nightshift up`: a Prefect server, an MLflow server and a worker on this machine, until Ctrl-C."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from deployments.automations import WEBHOOK_VARIABLE, apply_automations, webhook_address
from deployments.environment import HEARTBEAT_VARIABLE, SERVERS_FILE, answers
from deployments.keeping import KeptServer
from deployments.leftovers import end_lost_runs, end_orphans, owned
from deployments.missed_nights import settle_missed_nights
from deployments.processes import ChildProcess, ServerError, tail, terminable
from deployments.silence import SILENCE_S, Silence
from llm.files import write_json
from llm.home import home
from llm.progress import waiting

HOST = "127.0.0.1"
WORK_POOL = "nightshift"
API_VARIABLE = "PREFECT_API_URL"
PREFECT_FILE = Path(__file__).with_name("prefect.yaml")

# How long the Prefect server keeps a run that has ended.
KEEP_RUNS_DAYS = 30
_START_TIMEOUT_S = 120.0
_POLL_S = 0.25
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ports:
    """TCP ports on loopback."""

    prefect: int
    mlflow: int

    @property
    def prefect_url(self) -> str:
        """Address of the Prefect UI."""
        return f"http://{HOST}:{self.prefect}"

    @property
    def mlflow_url(self) -> str:
        """Address of the MLflow UI."""
        return f"http://{HOST}:{self.mlflow}"


def keep_up(ports: Ports, *, catch_up: bool, say: Say) -> None:
    """Start everything, tell the addresses through `say`, and wait until a signal.

    A server that dies is started again, a few times. With `catch_up`, one run makes up for the nights that passed while
    nothing was up.

    Raises ServerError when a port is taken, another `up` runs in this home, a process does not start, the worker
    dies, or a server dies again and again.
    """
    with _only_one(), terminable():
        end_orphans()
        check_port(ports.prefect, option="--prefect-port")
        check_port(ports.mlflow, option="--mlflow-port")
        webhook = webhook_address()
        environment = server_environment(os.environ, ports)
        children: list[ChildProcess | KeptServer] = []
        servers_file = home() / SERVERS_FILE
        try:
            _start_servers(children, ports, environment)
            settle_missed_nights(environment[API_VARIABLE], catch_up=catch_up, say=say)
            _start_worker(children, ports, environment, webhook=webhook)
            write_json(servers_file, {"prefect": ports.prefect_url, "mlflow": ports.mlflow_url, "pid": os.getpid()})
            say(f"Prefect  {ports.prefect_url}")
            say(f"MLflow   {ports.mlflow_url}")
            say(f"logs     {home() / 'logs'}")
            say("Ctrl-C stops them all.")
            _watch(children, Silence(environment[API_VARIABLE]), say)
        finally:
            servers_file.unlink(missing_ok=True)
            _stop_all(children)
            # A worker that was killed has left its flow run.
            end_orphans(of_this_process=True)


def server_environment(base: Mapping[str, str], ports: Ports) -> dict[str, str]:
    """The environment of the three processes, and of the flow runs that the worker starts."""
    return {
        **{name: value for name, value in base.items() if name != WEBHOOK_VARIABLE},  # a secret that no run needs
        **owned(),
        API_VARIABLE: f"{ports.prefect_url}/api",
        # Without it the page in the browser asks port 4200, whatever the server's own port is.
        "PREFECT_SERVER_UI_API_URL": f"{ports.prefect_url}/api",
        # The default lets every web page that the user visits talk to the server.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{ports.prefect_url},http://localhost:{ports.prefect}",
        # By default runs, logs and artifacts stay for ever; what a night decided is in MLflow. Events go after a week.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(KEEP_RUNS_DAYS * 24 * 3600),
        "MLFLOW_TRACKING_URI": ports.mlflow_url,
        # 0.5 GB of memory instead of 2.4: we use none of the server's background jobs.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONUNBUFFERED": "1",
    }


def check_port(port: int, *, option: str) -> None:
    """Raise ServerError when something listens on the port already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT after a restart is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ServerError(
                f"port {port} on {HOST} cannot be used ({error.strerror})",
                remedy=f"stop what uses it, or choose another with {option}",
            ) from None


def prefect_server(
    ports: Ports, environment: Mapping[str, str], *, log: str = "prefect", again: bool = False
) -> ChildProcess:
    """Start the Prefect server; it answers some seconds later (`wait_until`)."""
    command = [*_python("prefect"), "server", "start", "--host", HOST, "--port", str(ports.prefect)]
    return ChildProcess("the Prefect server", command, environment=environment, log=_log(log), again=again)


def mlflow_server(ports: Ports, environment: Mapping[str, str], *, again: bool = False) -> ChildProcess:
    """Start the MLflow server on the database and the artifact folder that runs without servers use too."""
    # Imported here: the module imports mlflow, which takes seconds.
    from tasks.registry.connection import TRACKING_VARIABLE, artifacts_uri, is_served, tracking_uri

    if is_served():
        raise ServerError(
            f"{TRACKING_VARIABLE} names a server already: {tracking_uri()}",
            remedy=f"unset {TRACKING_VARIABLE}, or set it to the database that the new server should use",
        )
    command = [*_python("mlflow"), "server", "--host", HOST, "--port", str(ports.mlflow), "--workers", "1"]
    # Artifacts keep plain file addresses, so that they can be read with or without the server.
    store = ["--backend-store-uri", tracking_uri(), "--default-artifact-root", artifacts_uri(), "--no-serve-artifacts"]
    command += store
    return ChildProcess("the MLflow server", command, environment=environment, log=_log("mlflow"), again=again)


def worker(environment: Mapping[str, str]) -> ChildProcess:
    """Start a process worker, which creates the work pool where it is missing; one flow run at a time."""
    command = [*_python("prefect"), "worker", "start", "--pool", WORK_POOL, "--type", "process", "--limit", "1"]
    return ChildProcess("the worker", command, environment=environment, log=_log("worker"))


def apply_deployments(environment: Mapping[str, str]) -> None:
    """Create or update the deployments of prefect.yaml on the server that PREFECT_API_URL names.

    Raises ServerError with the end of the output when Prefect refuses one.
    """
    log = _log("deploy")
    command = [*_python("prefect"), "--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE)]
    with log.open("wb") as output:
        done = subprocess.run(command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise ServerError(
            f"the deployments could not be applied; the end of the output:\n{tail(log, lines=8)}", remedy=f"read {log}"
        )


def worker_online(ports: Ports) -> bool:
    """True when a worker of the pool has reported itself to the server."""
    url = f"{ports.prefect_url}/api/work_pools/{WORK_POOL}/workers/filter"
    request = urllib.request.Request(url, data=b"{}", headers={"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=2) as reply:  # noqa: S310  (the address is ours, on loopback)
            return any(found["status"] == "ONLINE" for found in json.load(reply))
    except OSError:
        return False


def wait_until(ready: Callable[[], bool], child: ChildProcess, *, timeout: float = _START_TIMEOUT_S) -> None:
    """Ask `ready` four times a second, for at most `timeout` seconds.

    Raises ServerError when the child ends first, or is not ready in time.
    """
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not ready():
        child.check()
        if time.monotonic() > deadline:
            raise ServerError(
                f"{child.name} did not answer within {timeout:.0f} s; the end of its log:\n{tail(child.log)}",
                remedy=f"read {child.log}, and look whether the machine is busy",
            )
        pause.wait(_POLL_S)


@contextmanager
def embedded_prefect() -> Iterator[Callable[[], None]]:
    """A Prefect server for the time of one command, where PREFECT_API_URL names none; yields what waits for it.

    Prefect would start one itself. But Ctrl-C reaches that one too, and then the flow cannot tell any more how it
    ended: it retries for a minute. This one starts while prefect is being imported, and is stopped last.
    """
    if API_VARIABLE in os.environ:
        yield lambda: None
        return
    ports = Ports(prefect=free_port(), mlflow=0)
    # Nobody looks at its pages, and no worker would run what it plans.
    off = dict.fromkeys(("UI", "SERVICES_SCHEDULER", "SERVICES_LATE_RUNS"), "false")
    settings = {f"PREFECT_SERVER_{name}_ENABLED": value for name, value in off.items()}
    os.environ[API_VARIABLE] = f"{ports.prefect_url}/api"
    # Heartbeats tell a server that its runs live; this one ends with its only run, and a heartbeat that it was too busy
    # to take has kept a night waiting for a minute.
    os.environ.pop(HEARTBEAT_VARIABLE, None)
    end_orphans()
    server = prefect_server(ports, {**os.environ, **settings, **owned()}, log="prefect-embedded")

    def wait() -> None:
        wait_until(lambda: answers(f"{ports.prefect_url}/api/health"), server)
        end_lost_runs(f"{ports.prefect_url}/api")

    try:
        yield wait
    finally:
        # Prefect sends log lines in batches; the last ones must not find the server gone.
        for handler in logging.getLogger("prefect.flow_runs").handlers:
            handler.flush()
        del os.environ[API_VARIABLE]
        _stop_all([server])


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _start_servers(children: list[ChildProcess | KeptServer], ports: Ports, environment: Mapping[str, str]) -> None:
    # Each child is in the list before anything can fail, so that `finally` in the caller stops it.
    with waiting("starting the Prefect server and the MLflow server"):
        children.append(prefect := KeptServer(lambda again: prefect_server(ports, environment, again=again)))
        children.append(mlflow := KeptServer(lambda again: mlflow_server(ports, environment, again=again)))
        wait_until(lambda: answers(f"{ports.prefect_url}/api/health"), prefect.child)
        wait_until(lambda: answers(f"{ports.mlflow_url}/health"), mlflow.child)
    end_lost_runs(environment[API_VARIABLE], pool=WORK_POOL)


def _start_worker(
    children: list[ChildProcess | KeptServer], ports: Ports, environment: Mapping[str, str], *, webhook: str | None
) -> None:
    with waiting("starting the worker and applying the deployments"):
        children.append(working := worker(environment))
        wait_until(lambda: worker_online(ports), working)
        apply_deployments(environment)
        apply_automations(environment[API_VARIABLE], webhook=webhook)


def _watch(children: Sequence[ChildProcess | KeptServer], silence: Silence, say: Say) -> None:
    # The worker is not kept: its runs die with it, and the next `up` ends them.
    pause = threading.Event()
    while True:
        for child in children:
            if told := child.check():
                say(told)
        for run in silence.look():
            say(f"flow run {run} has given no sign of life for {SILENCE_S:.0f} s and was marked as crashed")
        pause.wait(_POLL_S)


def _stop_all(children: Sequence[ChildProcess | KeptServer]) -> None:
    # The worker first, while the server can still be told how its runs ended. A second Ctrl-C must not leave orphans.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with waiting("stopping"):
            for child in reversed(children):
                child.stop()
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _only_one() -> Iterator[None]:
    lock = FileLock(home() / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ServerError(
            f"another `nightshift up` is running in {home()}", remedy="use it, or stop it with Ctrl-C first"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _python(module: str) -> list[str]:
    # Through our own interpreter: a `prefect` found on PATH may belong to another environment.
    return [sys.executable, "-m", module]


def _log(name: str) -> Path:
    return home() / "logs" / f"{name}.log"
