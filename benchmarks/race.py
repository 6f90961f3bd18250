"""Contestants in processes of their own that take turns: speeds side by side, on a machine that is never quiet.

A script lists its contestants, `run` starts one process for each (with another allocator preloaded where it says so),
and lets each do one round after the other. While one works, the others wait on their standard input.
"""

from __future__ import annotations

import argparse
import ctypes.util
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Runs one round and returns units of work a second.
Round = Callable[[], float]
# Prepares a contestant: model, data, first steps.
Build = Callable[[argparse.Namespace], Round]

_PACKAGES = ("torch", "transformers", "tokenizers", "datasets", "ctranslate2", "litgpt", "numpy")


@dataclass(frozen=True)
class Contestant:
    """Who takes part: `build` runs in the contestant's own process; `available` says why it cannot, or nothing."""

    build: Build
    allocator: str = "as it ships"  # or "tcmalloc"
    available: Callable[[argparse.Namespace], str] = lambda options: ""  # noqa: ARG005


def parser(module: str, description: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """The options that every script has."""
    found = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    found.add_argument("--rounds", type=int, default=rounds, help="how often each contestant runs; the median counts")
    found.add_argument("--minutes", type=float, default=0.0, help="go on with rounds for so long, at least --rounds")
    found.add_argument("--threads", type=int, default=2, help="CPU threads of each contestant")
    found.add_argument("--only", nargs="+", default=[], metavar="NAME", help="take these contestants only")
    found.add_argument("--tcmalloc", default="", help="the library to preload; by default the one of this system")
    found.add_argument("--contestant", default="", help=argparse.SUPPRESS)
    return found


def run(
    module: str, contestants: Mapping[str, Contestant], options: argparse.Namespace, *, arguments: Sequence[str] = ()
) -> dict[str, Any] | None:
    """Race all contestants; the facts of the race. In a contestant's own process: serve rounds, and return None.

    `arguments` are added to the command line that the contestants' processes are given.
    """
    if options.contestant:
        _serve(contestants[options.contestant], options)
        return None
    library = options.tcmalloc or _find_tcmalloc()
    skipped: dict[str, str] = {}
    processes: dict[str, subprocess.Popen[str]] = {}
    speeds: dict[str, list[float]] = {}
    try:
        for name, contestant in contestants.items():
            why = _why_not(name, contestant, options, library)
            if why:
                skipped[name] = why
                continue
            processes[name] = _start(module, name, contestant, options, library, arguments)
            # The first round warms up: memory, compiled kernels, caches. It is not counted.
            _round(processes[name], name)
            speeds[name] = []
        peaks = _take_turns(processes, speeds, options)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return {
        "median": {name: round(statistics.median(found), 1) for name, found in speeds.items()},
        "rounds": min(map(len, speeds.values())),
        "spread": {
            name: round((max(found) - min(found)) / statistics.median(found), 3) for name, found in speeds.items()
        },
        "peak_mb": peaks,
        "skipped": skipped,
        "machine": machine(),
        "config": {key: str(value) for key, value in vars(options).items() if key != "contestant"},
    }


def ratios(median: Mapping[str, float], us: str, peers: Sequence[str]) -> dict[str, float]:
    """How many times as fast `us` is as each peer that took part."""
    return {peer: round(median[us] / median[peer], 3) for peer in peers if peer in median and us in median}


def compare(
    facts: dict[str, Any], contestants: Sequence[str], *, operations: float, gflops: Mapping[str, float]
) -> dict[str, Any]:
    """`facts` with how many times as fast as each peer we are, and everyone's share of what products reach.

    Our contestants' names begin with "ours"; a unit of work takes so many floating-point
    `operations`, and products run at `gflops` (by the way to multiply).
    """
    us = [name for name in contestants if name.startswith("ours")]
    peers = [name for name in contestants if name not in us]
    shares = {
        name: {kind: round(speed * operations / 1e9 / top, 3) for kind, top in gflops.items()}
        for name, speed in facts["median"].items()
    }
    ratio = {name: ratios(facts["median"], name, peers) for name in us}
    return facts | {"ratio": ratio, "limit_gflops": gflops, "share_of_limit": shares}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": model.partition(":")[2].strip() or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _find_tcmalloc() -> str:
    return ctypes.util.find_library("tcmalloc_minimal") or ctypes.util.find_library("tcmalloc") or ""


def _why_not(name: str, contestant: Contestant, options: argparse.Namespace, library: str) -> str:
    if options.only and name not in options.only:
        return "not asked for"
    if contestant.allocator == "tcmalloc" and not library:
        return "there is no tcmalloc on this system: install it, or name it with --tcmalloc"
    return contestant.available(options)


def _start(
    module: str,
    name: str,
    contestant: Contestant,
    options: argparse.Namespace,
    library: str,
    arguments: Sequence[str],
) -> subprocess.Popen[str]:
    environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads), TOKENIZERS_PARALLELISM="true")
    if contestant.allocator == "tcmalloc":
        environment["LD_PRELOAD"] = library
    command = [sys.executable, "-m", module, *sys.argv[1:], *arguments, "--contestant", name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def _take_turns(
    processes: Mapping[str, subprocess.Popen[str]], speeds: Mapping[str, list[float]], options: argparse.Namespace
) -> dict[str, float]:
    peaks: dict[str, float] = {}
    started = time.monotonic()
    count = 0
    while count < options.rounds or time.monotonic() - started < 60 * options.minutes:
        for name, process in processes.items():
            answer = _round(process, name)
            speeds[name].append(answer["speed"])
            peaks[name] = round(answer["peak_mb"], 1)
        count += 1
    return peaks


def _round(process: subprocess.Popen[str], name: str) -> dict[str, float]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("go\n")
        process.stdin.flush()
    except BrokenPipeError:
        raise SystemExit(f"{name} stopped with exit status {process.wait()}; its error is above") from None
    for line in process.stdout:
        # Peers print what they like; an answer is a line of ours.
        if line.startswith("answer "):
            answer: dict[str, float] = json.loads(line.removeprefix("answer "))
            return answer
    raise SystemExit(f"{name} stopped with exit status {process.wait()}; its error is above")


def _serve(contestant: Contestant, options: argparse.Namespace) -> None:
    one_round = contestant.build(options)
    for _ in sys.stdin:
        speed = one_round()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("answer " + json.dumps({"speed": speed, "peak_mb": peak}), flush=True)
