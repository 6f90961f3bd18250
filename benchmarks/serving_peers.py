"""The servers that benchmarks.serving asks, and the translator that they serve."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

_ROOT = Path(__file__).parents[1]
_START_S = 180.0


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
