"""What a command that was killed leaves on this machine: servers that serve nobody, and flow runs that never end.

SIGKILL runs no `finally`. So each process that outlives its owner carries the owner's name in its environment, and each
flow run of `nightshift run` in a tag; whoever starts next in the same home ends what belongs to a process that is gone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import psutil

from deployments.prefect_api import ask
from deployments.processes import tree
from llm.home import home
from llm.liveness import is_alive, is_this, this_process

OWNER_VARIABLE = "NIGHTSHIFT_OWNER"
_TAG = "process:"
_GRACE_S = 10.0
_ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_OPEN = ("RUNNING", "PENDING", "CANCELLING")


def owned() -> dict[str, str]:
    """What the environment of a child says of its owner: this process, and the home that it serves."""
    return {OWNER_VARIABLE: f"{this_process()}/{home()}"}


def tag() -> str:
    """What flow runs of this process are tagged with."""
    return f"{_TAG}{socket.gethostname()}/{this_process()}"


def end_orphans(*, of_this_process: bool = False) -> None:
    """End the processes of this home whose owner is gone; or, at our own end, those that we own."""
    _end([process for process in _processes() if _is_orphan(process, of_this_process)])


def end_strays(living: Iterable[int]) -> None:
    """End the processes that we own and none of our `living` children leads to: the flow runs of a dead worker.

    In a container they may have become our own children: there, who has lost its parent is given to process 1.
    """
    found = [process for process in _processes() if _is_orphan(process, True)]
    # Looked for after those found: what a living child starts meanwhile is none of them.
    led = {process.pid for pid in living for process in tree(pid)}
    _end([process for process in found if process.pid not in led])


def _processes() -> Iterator[psutil.Process]:
    """All that there are, newly looked at.

    psutil.process_iter keeps what it saw before: of a process whose id was another's then, it says that it is gone.
    """
    for pid in psutil.pids():
        with suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def _end(found: list[psutil.Process]) -> None:
    for number, process in enumerate([*found, *found]):
        # Those that started them end first; who does not listen is killed.
        with suppress(psutil.NoSuchProcess):
            process.terminate() if number < len(found) else process.kill()
        if number == len(found) - 1:
            psutil.wait_procs(found, timeout=_GRACE_S)
    psutil.wait_procs(found, timeout=_GRACE_S)


def _is_orphan(process: psutil.Process, of_this_process: bool) -> bool:
    try:
        owner = process.environ().get(OWNER_VARIABLE)
    except (psutil.Error, OSError):
        return False  # somebody else's, or gone
    if owner is None or process.pid == os.getpid():
        return False
    pid, started, folder = owner.split("/", maxsplit=2)
    if folder != str(home()):
        return False
    named = f"{pid}/{started}"
    return is_this(named) if of_this_process else not is_alive(named)


def end_lost_runs(api: str, *, pool: str | None = None) -> int:
    """Mark as crashed the flow runs of processes of this machine that are gone; returns how many.

    With a work `pool`, all of its runs: its only worker is about to start, so none of them can be alive.
    """
    found = _open_runs(api, {})
    ended_parents = _inside_ended_runs(api, found)
    lost = [run for run in found if _is_lost(run, pool) or run["id"] in ended_parents]
    ended = 0
    while lost:
        for run in lost:
            message = "its process was gone when Nightshift started again"
            state = {"type": "CRASHED", "name": "Crashed", "message": message}
            ask(api, "POST", f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        ended += len(lost)
        # Flow runs inside of them.
        lost = _open_runs(api, {"parent_flow_run_id": {"any_": [run["id"] for run in lost]}})
    return ended


def _open_runs(api: str, among: dict[str, Any]) -> list[dict[str, Any]]:
    body = {"flow_runs": {"state": {"type": {"any_": list(_OPEN)}}, **among}}
    found: list[dict[str, Any]] = ask(api, "POST", "flow_runs/filter", body)
    return found


def _inside_ended_runs(api: str, runs: list[dict[str, Any]]) -> set[str]:
    """Ids of those of `runs` whose parent has ended: it was killed, and they with it."""
    inside = {run["parent_task_run_id"]: run["id"] for run in runs if run["parent_task_run_id"]}
    if not inside:
        return set()
    tasks = ask(api, "POST", "task_runs/filter", {"task_runs": {"id": {"any_": list(inside)}}})
    parents = [task["flow_run_id"] for task in tasks]
    body = {"flow_runs": {"id": {"any_": parents}, "state": {"type": {"any_": list(_ENDS)}}}}
    ended = {run["id"] for run in ask(api, "POST", "flow_runs/filter", body)}
    return {inside[task["id"]] for task in tasks if task["flow_run_id"] in ended}


def _is_lost(run: dict[str, Any], pool: str | None) -> bool:
    if pool is not None and run.get("work_pool_name") == pool:
        return True
    for tag_of_run in run["tags"]:
        host, _, process = tag_of_run.removeprefix(_TAG).partition("/")
        if tag_of_run.startswith(_TAG) and host == socket.gethostname():
            return not is_alive(process)
    return False
