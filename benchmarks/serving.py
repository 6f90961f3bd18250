"""A translator under load over REST: `nightshift serve` beside `mlflow models serve` of the same weights.

Clients on loopback ask one text each, again and again; the servers are started one after the other. Without `--model`
the weights are random, in the sizes of the preset `quick`: such a model goes on to `--new-tokens` with every text.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.race import machine

_ROOT = Path(__file__).parents[1]
_START_S = 180.0
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


def random_model(folder: Path) -> None:
    """Write a translator of the sizes of `quick`, untrained, with a tokenizer of made-up words."""
    import torch

    from llm.families import load_family
    from llm.model.folder import save_model
    from llm.tokenizer import TextTokenizer
    from llm.tokenizer_training import train_tokenizer

    family = load_family("translation")
    recipe = family.presets()["quick"]
    assert recipe.tokenizer is not None
    tokenizer = TextTokenizer(train_tokenizer(sentences(20_000), recipe.tokenizer, template=family.template))
    torch.manual_seed(1)
    model = family.build_model(recipe, None, tokenizer).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, weights in model.named_parameters():
            # Fresh weights are so small that every text is answered with the same token for ever.
            if "_blocks." in name and weights.ndim == 2:
                weights.mul_(2.0)
    facts = {"family": family.name, "recipe": recipe.model_dump(mode="json"), "params": family.params().model_dump()}
    save_model(folder, model, description=facts, generation={})
    tokenizer.save(folder)


def sentences(count: int) -> list[str]:
    """Made-up sentences of 3 to 12 words, always the same."""
    draw = random.Random(20261127)  # noqa: S311 (no secret)
    words = ["".join(draw.choices("aeioubdfgklmnprstvz", k=draw.randint(2, 9))) for _ in range(6000)]
    return [" ".join(draw.choices(words, k=draw.randint(3, 12))) for _ in range(count)]


def our_server(folder: Path, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    """`nightshift serve`."""
    return _start(["-m", "deployments.cli", "serve", str(folder), "--port", str(port)], scratch, path=str(_ROOT))


def registered_pyfunc(folder: Path, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    """`mlflow models serve` of the model as Nightshift registers it."""
    from llm.families import load_family
    from tasks.registry.logged_model import ModelToLog, save_model

    params = load_family("translation").params().model_dump(mode="json")
    save_model(scratch / "saved", ModelToLog(folder, "translation", "k", ["a"], ["b"], params))
    return _mlflow(scratch / "saved", port, scratch)


def transformers_flavour(folder: Path, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    """`mlflow models serve` of the folder through MLflow's transformers flavour.

    transformers 5 has no pipeline for translation any more. Its text-generation pipeline warns of an encoder-decoder
    but runs the same `generate`; then it takes the text for a continuation, and cuts as many tokens as the prompt has.
    """
    import mlflow.transformers
    from mlflow.models import infer_signature
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    parts = {
        "model": AutoModelForSeq2SeqLM.from_pretrained(folder),
        "tokenizer": AutoTokenizer.from_pretrained(folder, return_token_type_ids=False),
    }
    params = {
        "num_beams": 4,
        "max_new_tokens": 128,
        "do_sample": False,
        "return_full_text": False,
        "add_special_tokens": True,
    }
    mlflow.transformers.save_model(
        parts,
        str(scratch / "saved"),
        task="text-generation",
        signature=infer_signature(["a"], ["b"], params=params),
        pip_requirements=["mlflow", "torch", "transformers"],
    )
    return _mlflow(scratch / "saved", port, scratch)


def transformers_pyfunc(folder: Path, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    """`mlflow models serve` of the folder through transformers' `generate`, with the whole answer."""
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    mlflow.pyfunc.save_model(
        path=str(scratch / "saved"),
        python_model=str(Path(__file__).with_name("transformers_peer.py")),
        artifacts={"model": str(folder)},
        signature=infer_signature(["a"], ["b"], params={"num_beams": 4, "max_new_tokens": 128}),
        pip_requirements=["mlflow", "torch", "transformers"],
    )
    return _mlflow(scratch / "saved", port, scratch)


SERVERS: dict[str, Callable[[Path, int, Path], subprocess.Popen[bytes]]] = {
    "nightshift": our_server,
    "mlflow_registered": registered_pyfunc,
    "mlflow_transformers_flavour": transformers_flavour,
    "mlflow_generate": transformers_pyfunc,
}


def same_answers(name: str, answers: Sequence[str], expected: Sequence[str]) -> str:
    """How many answers are as expected, and how many kinds there are; of the flavour's, what it leaves of them."""
    same = str.endswith if name == "mlflow_transformers_flavour" else str.__eq__
    return f"{sum(map(same, expected, answers))} of {len(answers)}, {len(set(answers))} different"


def _mlflow(saved: Path, port: int, scratch: Path) -> subprocess.Popen[bytes]:
    command = ["-m", "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local", "--port", str(port)]
    return _start([*command, "--host", "127.0.0.1"], scratch, path="")


def _start(arguments: Sequence[str], scratch: Path, *, path: str) -> subprocess.Popen[bytes]:
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": programs, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "NIGHTSHIFT_HOME": str(scratch / "home")}
    with (scratch / "log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | own | {"MLFLOW_TRACKING_URI": "sqlite://"},
            cwd=scratch,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def running(name: str, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of a server that answers."""
    from llm.serving.server import open_port

    with open_port(0) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as scratch:
        process = SERVERS[name](folder, port, Path(scratch))
        try:
            _wait(port, process, Path(scratch) / "log")
            yield port, psutil.Process(process.pid)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
        try:
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except ConnectionError:
            time.sleep(0.2)
        finally:
            connection.close()
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")


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
            threading.Thread(target=lambda first=n * 7: results.append(client(port, load, first, until)))  # type: ignore[misc]
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
