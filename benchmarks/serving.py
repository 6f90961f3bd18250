"""A translator under load over REST: `nightshift serve` beside `mlflow models serve` of the same weights.

Clients on loopback ask one text each, again and again; the servers are started one after the other. Without `--model`
the weights are random, in the sizes of the preset `quick`: such a model goes on to `--new-tokens` with every text.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.race import machine
from benchmarks.serving_peers import SERVERS, random_model, running, sentences

_TEXTS = 400


@dataclass(frozen=True)
class Load:
    """What the clients do: how many, how long, with which parameters."""

    clients: int
    seconds: float
    params: dict[str, int]
    texts: Sequence[str]


@dataclass
class Found:
    """What one client saw; seconds of each good reply."""

    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def same_answers(name: str, answers: Sequence[str], expected: Sequence[str]) -> str:
    """How many answers are as expected, and how many kinds there are; of the flavour's, what it leaves of them."""
    same = str.endswith if name == "mlflow_transformers_flavour" else str.__eq__
    return f"{sum(map(same, expected, answers))} of {len(answers)}, {len(set(answers))} different"


def ask(connection: http.client.HTTPConnection, text: str, params: dict[str, int]) -> str:
    """The translation of one text; raises ValueError for any other status than 200."""
    body = json.dumps({"inputs": [text], "params": params})
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    reply = connection.getresponse()
    content = reply.read()
    if reply.status != 200:
        raise ValueError(f"status {reply.status}: {content[:100]!r}")
    return str(json.loads(content)["predictions"][0])


def client(port: int, load: Load, first: int, until: float) -> Found:
    """Ask until the clock says `until`, beginning with text number `first`."""
    found = Found()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for number in itertools.count(first):
        begun = time.perf_counter()
        if begun >= until:
            break
        try:
            ask(connection, load.texts[number % len(load.texts)], load.params)
            found.seconds.append(time.perf_counter() - begun)
        except (OSError, ValueError, http.client.HTTPException) as error:
            found.errors[f"{type(error).__name__}: {error}"[:120]] += 1
            connection.close()
    connection.close()
    return found


def measure(name: str, folder: Path, load: Load) -> dict[str, Any]:
    """Start a server, warm it up, let all clients at it, and say what they saw."""
    with running(name, folder) as (port, process):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        answers = [ask(connection, text, load.params) for text in load.texts[:20]]
        connection.close()
        until = time.perf_counter() + load.seconds
        results: list[Found] = []
        threads = [
            threading.Thread(target=lambda first=n * 7: results.append(client(port, load, first, until)))
            for n in range(load.clients)
        ]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        elapsed = time.perf_counter() - begun
        peak = max(_peak_mb(one) for one in [process, *process.children(recursive=True)])
    seconds = sorted(itertools.chain.from_iterable(found.seconds for found in results))
    errors: Counter[str] = sum((found.errors for found in results), Counter())
    return {
        "server": name,
        "requests": len(seconds),
        "errors": errors.total(),
        "kinds_of_errors": dict(errors.most_common(3)),
        "requests_per_second": round(len(seconds) / elapsed, 1),
        "p50_ms": round(1000 * statistics.median(seconds), 1) if seconds else None,
        "p99_ms": round(1000 * seconds[int(0.99 * (len(seconds) - 1))], 1) if seconds else None,
        "slowest_ms": round(1000 * seconds[-1], 1) if seconds else None,
        "peak_mb": round(peak),
        "answers": answers,
    }


def _peak_mb(process: psutil.Process) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def table(results: Sequence[dict[str, Any]]) -> str:
    """For a README."""
    lines = ["| server | requests/s | p50 | p99 | errors | peak memory |", "| --- | --- | --- | --- | --- | --- |"]
    for found in results:
        speed = f"{found['requests_per_second']:,} | {found['p50_ms']:,} ms | {found['p99_ms']:,} ms"
        lines.append(
            f"| {found['server']} | {speed} | {found['errors']} of {found['requests']:,} | {found['peak_mb']} MB |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one JSON line a server, then the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--clients", type=int, default=50, help="connections that ask at the same time")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each server is asked")
    parser.add_argument("--model", type=Path, help="folder of a translator, in place of random weights")
    parser.add_argument("--beams", type=int, default=4, help="num_beams of every request")
    parser.add_argument("--new-tokens", type=int, default=16, help="max_new_tokens of every request")
    parser.add_argument("--only", nargs="+", choices=list(SERVERS), default=list(SERVERS), help="servers")
    options = parser.parse_args(arguments)
    params = {"num_beams": options.beams, "max_new_tokens": options.new_tokens}
    load = Load(options.clients, options.seconds, params, sentences(_TEXTS))
    config = {"clients": load.clients, "seconds": load.seconds, **params, "weights": str(options.model or "random")}
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model or Path(scratch) / "model"
        if options.model is None:
            random_model(folder)
        for name in options.only:
            found = measure(name, folder, load)
            answers = found.pop("answers")
            first = results[0]["answers"] if results else answers
            found["same_answers"] = same_answers(name, answers, first)
            results.append(found | {"answers": answers})
            print(json.dumps({"benchmark": "serving", **found, "config": config, "machine": machine()}), flush=True)
    print(table(results))


if __name__ == "__main__":
    main()
