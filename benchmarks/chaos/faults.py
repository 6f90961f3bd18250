"""Every write, fsync, rename and POST of a stage, a checkpoint or a registration: killed, disk full, disk broken.

    python -m benchmarks.chaos.faults FOLDER [--only ACT] [--each | --sites N] [--seed S]

To be started with faults.so preloaded (`python -m benchmarks.chaos` does). An undisturbed run of an act counts its
calls; then, from the same state of a home, the n-th of them fails. Each run is a fork of this process.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chaos import acts
from benchmarks.chaos.forks import import_all
from benchmarks.chaos.registry import look
from llm.errors import NightshiftError

ACTS = ("stages", "training", "registration", "posts")
# As faults.c numbers them; `lost`: a request is carried out, and its reply is lost.
KINDS = {"kill": 1, "ENOSPC": 2, "EIO": 3, "lost": 4}
_OLD, _NEW = "1", "2"  # versions: the champion before, and the challenger
_REASONS = (os.strerror(errno.ENOSPC), os.strerror(errno.EIO), "disk I/O error", "disk is full", "Connection")


@dataclass(frozen=True)
class Call:
    """One call of an undisturbed run; `site` is where it falls, whatever keys and process ids there are."""

    number: int
    what: str
    path: str

    @property
    def site(self) -> str:
        """The kind of call and its file, whatever keys, numbers and temporary names are in it."""
        path = re.sub(r"/code/.*", "/code/#", self.path)
        name = re.sub(r"[0-9a-f]{16,}|m-[0-9a-f]+|\.tmp\w{6}|tmp\w{8}|nightshift-\w+", "#", path)
        return f"{self.what} {re.sub('[0-9]+', '#', name)}"


class Faults:
    """Disturbs acts on a home below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = folder / "home"
        self._rows = folder / "rows"
        self._library = ctypes.CDLL(None)
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    def prepare(self) -> None:
        """Make the states of the home that the acts begin with: a champion in the registry, and what comes before."""
        of, old = acts.recipe(self._rows, seed=2), acts.recipe(self._rows, seed=1)
        self._must(lambda: acts.register(old, data := acts.stages(old), acts.train(old, data)))
        shutil.copytree(self._home, self._folder / "training")
        shutil.copytree(self._home, self._folder / "stages", ignore=shutil.ignore_patterns("stages"))
        self._must(
            lambda: acts.evaluation_of(
                of, acts.train(of, data := acts.stages(of)), data.corpus, root=acts.stages_folder()
            )
        )
        shutil.copytree(self._home, self._folder / "registration")
        (self._folder / "posts").symlink_to(self._folder / "registration")

    def run(self, name: str, *, sites: int | None, draw: random.Random) -> None:
        """Disturb an act at each of its calls, or at `sites` drawn places, in each way."""
        self._reset(name)
        calls = self._count(name)
        reference = acts.found(self._home)
        kinds = KINDS if name == "posts" else {kind: KINDS[kind] for kind in ("kill", "ENOSPC", "EIO")}
        chosen = calls if sites is None else _drawn(calls, sites, draw)
        _say(
            f"{name}: {len(calls)} calls at {len({call.site for call in calls})} places; "
            f"{len(chosen)} fail in {len(kinds)} ways"
        )
        for call in chosen:
            for kind in kinds:
                self._disturb(name, call, kind, reference)

    def _count(self, name: str) -> list[Call]:
        trace = self._folder / f"{name}.trace"
        self._must(lambda: self._act(name, 0, 0, trace))
        rows = [line.split("\t") for line in trace.read_text(encoding="utf-8").splitlines()]
        return [Call(int(number), what, path.removeprefix(f"{self._home}/")) for number, what, path in rows]

    def _act(self, name: str, number: int, kind: int, trace: Path | None = None) -> None:
        log = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if trace else -1
        requests = name == "posts"
        with self._served(requests) as port:
            acts.settle_in(self._home, served=port)
            self._library.chaos_arm(str(self._home).encode(), ctypes.c_long(number), kind, int(requests), log)
            acts.act(name, self._rows)
            self._library.chaos_disarm()

    def _disturb(self, name: str, call: Call, kind: str, reference: str) -> None:
        self._reset(name)
        self.counts[f"{name} {call.what} {kind}"] += 1
        told = _fork(lambda: self._act(name, call.number, KINDS[kind]))
        outcome, complaint = _judged(told, kind)
        self.outcomes[f"{kind}: {outcome}"] += 1
        wrong = [complaint] if complaint else []
        registers = name in ("registration", "posts")
        state = self._look(files=registers)
        wrong += _registry_is_wrong(state, ended=outcome == "went on", act=name)
        again = _fork(lambda: self._act(name, 0, 0))
        if again != {"ended": True}:
            wrong.append(f"run again: {again}")
        if acts.found(self._home) != reference:
            wrong.append(f"other weights: {acts.found(self._home)} and not {reference}")
        if registers:
            state = self._look(files=True)
            wrong += [f"run again: {one}" for one in _registry_is_wrong(state, ended=True, act=name)]
        wrong += self._left()
        self.wrong += [f"{name} call {call.number} {kind} ({call.site}): {one}" for one in wrong]
        for one in wrong:
            _say(self.wrong[-1] if one == wrong[-1] else one)

    def _left(self) -> list[str]:
        found = list((self._home / "stages").rglob(".*.tmp"))
        return [f"left: {path.relative_to(self._home)}" for path in found]

    def _look(self, *, files: bool) -> dict[str, Any]:
        def read() -> dict[str, Any]:
            acts.settle_in(self._home)
            found: dict[str, Any] = look(acts.FAMILY, files=files)[acts.FAMILY]
            return found

        return _fork(read)

    def _reset(self, name: str) -> None:
        # The same path each time: MLflow keeps addresses of artifacts.
        if self._home.exists():
            shutil.rmtree(self._home)
        shutil.copytree((self._folder / name).resolve(), self._home)

    def _must(self, do: Callable[[], Any]) -> None:
        def settled() -> None:
            acts.settle_in(self._home)
            do()

        if (told := _fork(settled)) != {"ended": True}:
            raise SystemExit(f"the undisturbed run failed: {told}")

    @contextmanager
    def _served(self, wanted: bool) -> Iterator[int | None]:
        """An MLflow server on the home's database, forked too, where one is `wanted`; gives its port."""
        if not wanted:
            yield None
            return
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _serve(self._home, port, parent)
        try:
            _wait_for(port)
            yield port
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _serve(home: Path, port: int, parent: int) -> None:
    acts.settle_in(home)
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{home}/mlflow/mlflow.db",
        "_MLFLOW_SERVER_REGISTRY_STORE": f"sqlite:///{home}/mlflow/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": (home / "mlflow" / "artifacts").as_uri(),
    }
    os.environ.pop("MLFLOW_TRACKING_URI")
    # Ends with the process that forked it, which may be killed.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() == parent:
        import uvicorn
        from mlflow.server.fastapi_app import app

        uvicorn.run(app, host="127.0.0.1", port=port, log_level="critical")
    os._exit(0)


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the MLflow server does not answer")


def _fork(do: Callable[[], Any]) -> dict[str, Any]:
    """What `do` returned, or how its process ended: `ended`, `killed`, `error` (one of ours) or `traceback`."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.setsid()
        told: dict[str, Any]
        try:
            told = do() or {"ended": True}
        except NightshiftError as error:
            told = {"error": error.problem, "remedy": error.remedy, "kind": type(error).__name__}
        except BaseException as error:
            told = {"traceback": "".join(traceback.format_exception(error))[-1500:], "kind": type(error).__name__}
        ctypes.CDLL(None).chaos_disarm()
        with os.fdopen(write, "w") as file:
            json.dump(told, file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"killed": os.WTERMSIG(status)}
    found: dict[str, Any] = json.loads(text)
    return found


def _judged(told: dict[str, Any], kind: str) -> tuple[str, str]:
    """How a disturbed run ended, and what is wrong with that."""
    if "killed" in told:
        return ("killed", "") if kind == "kill" else ("killed", f"ended by signal {told['killed']}")
    if "ended" in told:
        return "went on", "" if kind != "kill" else "was not killed"
    if "error" in told:
        clear = any(reason in told["error"] for reason in _REASONS) and "/" in told["error"]
        return "one error", "" if clear else f"unclear: {told['error']}"
    return "traceback", f"traceback: {told['traceback'].strip().splitlines()[-1]}\n{told['traceback']}"


def _registry_is_wrong(state: dict[str, Any], *, ended: bool, act: str) -> list[str]:
    """What must not be in the registry after a fault, or after the act was carried out."""
    if "versions" not in state:
        return [f"the registry cannot be read: {state}"]
    wrong = [f"the champion does not load: {state['unloadable']}"] * bool(state["unloadable"])
    wrong += [f"version {number}: {one['damage']}" for number, one in state["versions"].items() if one["damage"]]
    keys = [one["key"] for one in state["versions"].values()]
    wrong += [f"two versions of a training: {keys}"] * (len(keys) != len(set(keys)))
    registers = act in ("registration", "posts")
    champion = str(state["aliases"].get("champion"))
    allowed = {_NEW} if registers and ended else {_OLD, _NEW} if registers else {_OLD}
    wrong += [f"version {champion} is champion"] * (champion not in allowed)
    trainings = [key for key, _ in state["runs"]]
    wrong += [f"two runs of a training: {trainings}"] * (len(trainings) != len(set(trainings)))
    if ended:
        wrong += [f"run {key} is {status}" for key, status in state["runs"] if status != "FINISHED"]
    return wrong


def _drawn(calls: list[Call], most: int, draw: random.Random) -> list[Call]:
    """One call of as many different places as there may be, in their order."""
    places: dict[str, list[Call]] = {}
    for call in calls:
        places.setdefault(call.site, []).append(call)
    chosen = draw.sample(sorted(places), min(most, len(places)))
    return sorted((draw.choice(places[site]) for site in chosen), key=lambda call: call.number)


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Disturb the acts that were asked for, and print one line of figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos.faults", description=__doc__)
    parser.add_argument("folder", type=Path, help="an empty folder")
    parser.add_argument("--only", choices=ACTS, action="append", help="an act; repeatable")
    parser.add_argument("--sites", type=int, help="draw so many places an act, in place of every call")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn")
    arguments = parser.parse_args()
    begun = time.monotonic()
    import_all()
    faults = Faults(arguments.folder.resolve())
    faults.prepare()
    draw = random.Random(arguments.seed)  # noqa: S311  (repeatable on purpose)
    for name in arguments.only or ACTS:
        faults.run(name, sites=arguments.sites, draw=draw)
    line = {
        "faults": sum(faults.counts.values()),
        "seconds": round(time.monotonic() - begun),
        "load": round(os.getloadavg()[1], 1),
        "by_call": dict(faults.counts),
        "outcomes": dict(faults.outcomes),
        "wrong": faults.wrong,
    }
    print(json.dumps(line))
    return 1 if faults.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
