"""`nightshift up`: a Prefect server, an MLflow server and a worker on this machine, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from deployments.abandoned_runs import AbandonedRuns
from deployments.access import LOOPBACK, PREFECT_AUTH, USER, check_host, make_access, without_secrets
from deployments.addresses import API_VARIABLE, Ports, check_port, free_port, seldom, server_environment
from deployments.automations import apply_automations, webhook_address
from deployments.crashed_nights import CrashedNights
from deployments.environment import HEARTBEAT_VARIABLE, SERVERS_FILE, answers
from deployments.keeping import PATIENCE_S, KeptProcess
from deployments.leftovers import end_lost_runs, end_orphans, end_strays, owned
from deployments.missed_nights import settle_missed_nights
from deployments.parameters import Parameters, apply_with_parameters, renew_late_nights
from deployments.prefect_api import ask
from deployments.processes import ChildProcess, ServerError, tail, terminable, undisturbed
from deployments.silence import Silence
from llm.files import write_json
from llm.home import home
from llm.progress import waiting

WORK_POOL = "nightshift"
_SIGN_IN = "MLFLOW_AUTH_CONFIG_PATH"
# By its name: the module imports uvicorn, for which only the server has use.
UVICORN_LOOP = "deployments.slow_ticks:make_loop"
PREFECT_FILE = Path(__file__).with_name("prefect.yaml")

_START_TIMEOUT_S = 120.0
_POLL_S = 0.25
# While all is up; more often it would show beside a training.
_WATCH_S = 1.0
Say = Callable[[str], None]


def keep_up(ports: Ports, *, catch_up: bool, nights: Parameters | None, say: Say) -> None:
    """Start everything, tell the addresses through `say`, and wait until a signal.

    `nights`: what a file says that the nights do; None: what they did before, or the defaults.

    A server or worker that dies, or a server that hangs, is started again. With `catch_up`, one run makes up for the
    nights that passed while nothing was up, and a night that crashes is run again, once. On any address but 127.0.0.1
    both servers ask for a password.

    Raises ServerError when the address or a port cannot be used, another `up` runs in this home, or a process does not
    start or, later, dies again and again before it comes up.
    """
    with _only_one(), terminable():
        end_orphans()
        check_host(ports.host)
        check_port(ports.prefect, option="--prefect-port", host=ports.host)
        check_port(ports.mlflow, option="--mlflow-port", host=ports.host)
        webhook = webhook_address()
        access = make_access(home()) if ports.host != LOOPBACK else None
        environment = server_environment(os.environ, ports, access)
        # Flow runs have the worker's environment: what only servers need stays out of it.
        own = environment
        if access is not None:
            own = without_secrets(environment, access)
            os.environ[PREFECT_AUTH] = environment[PREFECT_AUTH]  # what this process itself asks is let in, too
        children: list[KeptProcess] = []
        servers_file = home() / SERVERS_FILE
        try:
            _start_servers(children, ports, environment)
            settle_missed_nights(environment[API_VARIABLE], catch_up=catch_up, say=say)
            renew_late_nights(environment[API_VARIABLE], nights=nights)
            _start_worker(children, ports, own)
            _apply(own, webhook=webhook, nights=nights, say=say)
            addresses = {"prefect": ports.prefect_url, "mlflow": ports.mlflow_url}
            write_json(servers_file, {**addresses, "pid": os.getpid(), "access": access is not None})
            say(f"Prefect  {ports.prefect_url}")
            say(f"MLflow   {ports.mlflow_url}")
            say(f"logs     {home() / 'logs'}")
            if access is not None:
                say(f"sign in  as {USER} with the passwords in {access.folder}; Prefect takes {USER}:PASSWORD")
            say("Ctrl-C stops them all.")
            crashed = [CrashedNights(environment[API_VARIABLE])] if catch_up else []
            _watch(children, [Silence(environment[API_VARIABLE]), AbandonedRuns(own), *crashed], say)
        finally:
            with undisturbed(), waiting("stopping"):
                servers_file.unlink(missing_ok=True)
                # The worker first, while the server can still be told how its runs ended.
                for child in reversed(children):
                    child.stop()
                # A worker that was killed has left its flow run.
                end_orphans(of_this_process=True)


def prefect_server(
    ports: Ports, environment: Mapping[str, str], *, log: str = "prefect", again: bool = False
) -> ChildProcess:
    """Start the Prefect server; it answers some seconds later (`wait_until`)."""
    # -P: whoever uses Prefect may well have a folder `deployments` of their own where they start this.
    command = [sys.executable, "-P", "-m", "deployments.prefect_server", "server", "start"]
    command += ["--host", ports.host, "--port", str(ports.prefect)]
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
    command = [*_python("mlflow"), "server", "--host", ports.host, "--port", str(ports.mlflow), "--workers", "1"]
    # Our folder first: uvicorn would look for modules in the folder where the user starts this.
    command += ["--uvicorn-opts", shlex.join(["--loop", UVICORN_LOOP, "--app-dir", str(Path(__file__).parents[1])])]
    if _SIGN_IN in environment:
        command += ["--app-name", "basic-auth"]
    # Artifacts keep plain file addresses, so that they can be read with or without the server.
    store = ["--backend-store-uri", tracking_uri(), "--default-artifact-root", artifacts_uri(), "--no-serve-artifacts"]
    command += store
    return ChildProcess("the MLflow server", command, environment=environment, log=_log("mlflow"), again=again)


def worker(environment: Mapping[str, str], *, again: bool = False, beside: Iterable[int] = ()) -> ChildProcess:
    """Start a process worker, which creates the work pool where it is missing; one flow run at a time.

    `again`: after the death of one before, while our children with the ids `beside` live.
    """
    if again:
        # The runs of the one before: the new one would not know them, and one more would run beside them.
        end_strays(beside)
        end_lost_runs(environment[API_VARIABLE], pool=WORK_POOL)
    command = [*_python("prefect"), "worker", "start", "--pool", WORK_POOL, "--type", "process", "--limit", "1"]
    return ChildProcess("the worker", command, environment=environment, log=_log("worker"), again=again)


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
    try:
        workers = ask(f"{ports.prefect_url}/api", "POST", f"work_pools/{WORK_POOL}/workers/filter", {})
    except ServerError:
        return False  # the worker makes the pool
    return any(found["status"] == "ONLINE" for found in workers)


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
    settings = seldom() | {f"PREFECT_SERVER_{name}_ENABLED": value for name, value in off.items()}
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
        with undisturbed(), waiting("stopping"):
            # Prefect sends log lines in batches; the last ones must not find the server gone.
            for handler in logging.getLogger("prefect.flow_runs").handlers:
                handler.flush()
            del os.environ[API_VARIABLE]
            server.stop()


def _start_servers(children: list[KeptProcess], ports: Ports, environment: Mapping[str, str]) -> None:
    # Each child is in the list before anything can fail, so that `finally` in the caller stops it.
    with waiting("starting the Prefect server and the MLflow server"):
        prefect_works = partial(answers, f"{ports.prefect_url}/api/health", timeout=PATIENCE_S)
        mlflow_works = partial(answers, f"{ports.mlflow_url}/health", timeout=PATIENCE_S)
        children.append(KeptProcess(lambda again: prefect_server(ports, environment, again=again), works=prefect_works))
        children.append(KeptProcess(lambda again: mlflow_server(ports, environment, again=again), works=mlflow_works))
        for kept, works in zip(children, (prefect_works, mlflow_works), strict=True):
            wait_until(works, kept.child)
    end_lost_runs(environment[API_VARIABLE], pool=WORK_POOL)


def _start_worker(children: list[KeptProcess], ports: Ports, environment: Mapping[str, str]) -> None:
    with waiting("starting the worker"):
        servers = list(children)
        working = KeptProcess(
            lambda again: worker(environment, again=again, beside=[kept.child.pid for kept in servers]),
            ready=lambda: answers(f"{ports.prefect_url}/api/health"),
        )
        children.append(working)
        wait_until(lambda: worker_online(ports), working.child)


def _apply(environment: Mapping[str, str], *, webhook: str | None, nights: Parameters | None, say: Say) -> None:
    api = environment[API_VARIABLE]
    with waiting("applying the deployments"):
        apply_with_parameters(api, partial(apply_deployments, environment), nights=nights, say=say)
        apply_automations(api, webhook=webhook)


def _watch(
    children: Sequence[KeptProcess], watchers: Sequence[Silence | AbandonedRuns | CrashedNights], say: Say
) -> None:
    pause = threading.Event()
    while True:
        for child in children:
            if told := child.check():
                say(told)
        for watcher in watchers:
            for told in watcher.look():
                say(told)
        pause.wait(_WATCH_S)


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
