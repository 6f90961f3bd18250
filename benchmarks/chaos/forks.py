"""Processes that start in no time: forked from one that has imported everything, in place of started anew.

Every Python process of a night (servers, worker, flow, evaluation) imports for seconds what it needs, so 200 kills
would take a night themselves. `sys.executable` is a small script here (`shim`): it hands its arguments, environment,
folder and standard streams to the process that forks, which runs the module in a child. To whoever started it, the
script is that child: signals are passed on, a child that ends or is killed takes its script with it, and the other way
round.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

SOCKET_VARIABLE = "CHAOS_SOCKET"
PYTHON_VARIABLE = "CHAOS_PYTHON"
_ROOT = Path(__file__).parents[2]
_READY = b"ready\n"
_SHIM = Path(__file__).with_name("shim.py")
# All that any process of a night imports, Prefect and ours included.
_MODULES = (
    "flows.nightly",
    "flows.retrain",
    "deployments.cli",
    "deployments.servers",
    "deployments.pipeline",
    "deployments.champions",
    "prefect.flow_engine",
    "prefect.engine",
    "prefect.cli",
    "prefect.server.api.server",
    "prefect.workers.process",
    "uvicorn",
    "mlflow.pyfunc",
    "mlflow.cli",
    "mlflow.server.fastapi_app",
    "transformers.models.llama.modeling_llama",
    "torch._dynamo",
    "transformers.models.bert.modeling_bert",
    "transformers.models.pegasus.modeling_pegasus",
    "llm.evaluate",
    "llm.training.stage",
    "sklearn.linear_model",
    "matplotlib.pyplot",
    "pandas",
)
# These must find no `llm` imported: they test the copy that was registered.
_WITHOUT_OURS = ("tasks.reload_check",)
_OURS = ("llm", "tasks", "flows", "deployments")
_HEADER = 8


def executable(folder: Path) -> Path:
    """Write the script that stands for Python; `folder` must be free of spaces, since a shebang is a line of words."""
    path = folder / "python"
    path.write_text(f"#!{Path(sys.base_prefix) / 'bin' / 'python3'} -IS\n{_SHIM.read_text()}", encoding="utf-8")
    path.chmod(0o755)
    return path


class Forks:
    """The process that forks, for a `with` block; `environment` is what its children are to be started with."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "forks.sock"
        self.environment = os.environ | {
            SOCKET_VARIABLE: str(self.socket),
            PYTHON_VARIABLE: sys.executable,
            # Before numpy is imported: its threads would not live on in a fork.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MLFLOW_LOGGING_LEVEL": "WARNING",
        }
        self.python = executable(folder)
        command = [sys.executable, "-P", "-m", "benchmarks.chaos.forks", str(self.socket), str(self.python)]
        # The benchmarks are no installed package.
        environment = self.environment | {"PYTHONPATH": str(_ROOT)}
        self._process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)

    def __enter__(self) -> Forks:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != _READY:
            raise RuntimeError(f"the process that forks did not start: exit code {self._process.wait()}")
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes():
            os.kill(process["pid"], signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def processes(self) -> list[dict[str, Any]]:
        """`pid`, `arguments` and `home` of every process that runs now, oldest first."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(_packed({"list": True}))
            found: list[dict[str, Any]] = json.loads(_receive(connection))
        return found


def _packed(value: Any) -> bytes:
    data = json.dumps(value).encode()
    return len(data).to_bytes(_HEADER, "big") + data


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the other side is gone")
        data += more
    return data


def _receive(connection: socket.socket) -> bytes:
    return _exactly(connection, int.from_bytes(_exactly(connection, _HEADER), "big"))


class _Server:
    def __init__(self, path: str, python: str) -> None:
        self._python = python
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen(64)
        self._children: dict[int, tuple[socket.socket, dict[str, Any]]] = {}

    def serve(self) -> None:
        while True:
            sockets = {connection: pid for pid, (connection, _) in self._children.items()}
            ready, _, _ = select.select([self._listening, *sockets], [], [], 0.02)
            for one in ready:
                if one is self._listening:
                    self._accept()
                elif self._is_gone(one):
                    # Whoever waited for this process is dead; so is it.
                    _kill(sockets[one])
            self._reap()

    def _is_gone(self, connection: socket.socket) -> bool:
        try:
            return connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def _reap(self) -> None:
        for pid in list(self._children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                connection, _ = self._children.pop(pid)
                try:
                    connection.sendall(_packed({"status": os.waitstatus_to_exitcode(status)}))
                except OSError:
                    continue
                finally:
                    connection.close()

    def _accept(self) -> None:
        connection, _ = self._listening.accept()
        try:
            _, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
            asked = json.loads(_receive(connection)) if descriptors else json.loads(_rest(connection))
        except (OSError, ValueError):
            connection.close()
            return
        if "list" in asked:
            found = [facts | {"pid": pid} for pid, (_, facts) in sorted(self._children.items())]
            connection.sendall(_packed(found))
            connection.close()
            return
        pid = os.fork()
        if pid == 0:
            self._become(asked, descriptors, connection)
        for descriptor in descriptors:
            os.close(descriptor)
        self._children[pid] = (
            connection,
            {"arguments": asked["arguments"], "home": asked["environment"].get("NIGHTSHIFT_HOME", "")},
        )
        connection.sendall(_packed({"pid": pid}))

    def _become(self, asked: dict[str, Any], descriptors: list[int], connection: socket.socket) -> None:
        code = 1
        try:
            self._listening.close()
            connection.close()
            for other, _ in self._children.values():
                other.close()
            os.setsid()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
                os.close(descriptor)
            code = _run(asked, self._python)
        finally:
            os._exit(code)


def _rest(connection: socket.socket) -> bytes:
    """A request without streams: its first byte was read with the ancillary data."""
    return _exactly(connection, int.from_bytes(_exactly(connection, _HEADER - 1), "big"))


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _run(asked: dict[str, Any], python: str) -> int:
    """Run `-m module arguments` in this process, as a fresh Python would; returns its exit code."""
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    random.seed()
    sys.executable = python
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, buffering=1, closefd=False) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    import prefect.context

    prefect.context.refresh_global_settings_context()
    module, *arguments = asked["arguments"]
    if module in _WITHOUT_OURS:
        for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
            del sys.modules[name]
    sys.argv = [module, *arguments]
    code: int | str | None = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        code = error.code
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    import threading

    # What the end of a Python process does, without taking down what the forking process shares.
    threading._shutdown()  # type: ignore[attr-defined]
    import atexit

    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if isinstance(code, str):
        sys.stderr.write(code + "\n")
        return 1
    return code or 0


def import_all() -> None:
    """What a fork finds imported; its pages are not copied for a garbage collector that looks through them."""
    for name in _MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def main() -> None:
    """Import everything, say so, and fork what is asked for."""
    warnings.simplefilter("ignore")
    import_all()
    server = _Server(*sys.argv[1:])
    print(_READY.decode().strip(), flush=True)
    server.serve()


if __name__ == "__main__":
    main()
