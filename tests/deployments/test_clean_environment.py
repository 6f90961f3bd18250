"""A venv with nothing but a version's requirements pulls the models of all families and predicts with them.

As the README tells it: through `mlflow.pyfunc`, and as an ordinary Hugging Face folder with `transformers` alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.artifacts import download_artifacts
from mlflow_serving import mlflow_serves
from smoke_models import train_smoke
from toy_registry import INPUTS, register_folder, settle_in

from llm.families import FAMILIES
from llm.model.folder import read_options
from llm.predictor import Predictor
from tasks.registry.connection import client
from tasks.registry.versions import promote

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 900

PYFUNC = """
import importlib.util, json, sys

assert not [name for name in ("llm", "tasks", "flows", "deployments", "prefect") if importlib.util.find_spec(name)]
import mlflow

family, texts = sys.argv[1], json.loads(sys.argv[2])
model = mlflow.pyfunc.load_model(f"models:/{family}@champion")
print(json.dumps(model.predict(texts)))
"""

TRANSFORMERS = """
import importlib, json, sys

for name in ("llm", "tasks"):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} can be imported")
import mlflow, torch, transformers

answers = {}
for family, auto in json.loads(sys.argv[1]).items():
    folder = mlflow.artifacts.download_artifacts(f"models:/{family}@champion/artifacts/model")
    model = getattr(transformers, auto).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    read = tokenizer(sys.argv[2], return_tensors="pt", return_token_type_ids=False)
    with torch.inference_mode():
        if model.can_generate():
            written = model.generate(**read, max_new_tokens=8, do_sample=False, num_beams=1)[0]
            start = 0 if model.config.is_encoder_decoder else read["input_ids"].shape[1]
            answers[family] = tokenizer.decode(written[start:], skip_special_tokens=True)
        else:
            answers[family] = model.config.id2label[int(model(**read).logits.argmax())]
assert "llm" not in sys.modules
print(json.dumps(answers))
"""

AUTO = {
    "LlamaForCausalLM": "AutoModelForCausalLM",
    "BertForSequenceClassification": "AutoModelForSequenceClassification",
    "PegasusForConditionalGeneration": "AutoModelForSeq2SeqLM",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny trained model of each family."""
    return {name: train_smoke(name, tmp_path_factory.mktemp(name)) for name in FAMILIES}


@pytest.fixture(scope="module")
def registry(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        settle_in(home, patch)
        for name, folder in folders.items():
            version = register_folder(folder, name, f"k-{name}")
            promote(version, over=None, reasons=("the first",), description="")
        yield home


@pytest.fixture(scope="module")
def clean_python(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a new venv with the versions' requirements.txt, which are the same for all."""
    folder = tmp_path_factory.mktemp("clean")
    with pytest.MonkeyPatch.context() as patch:
        settle_in(registry, patch)
        client()
        pulled = [
            Path(download_artifacts(f"models:/{name}@champion/requirements.txt", dst_path=str(folder / name)))
            for name in FAMILIES
        ]
    [requirements] = {path.read_text() for path in pulled}
    assert "torch==" in requirements
    python = folder / "venv" / "bin" / "python"
    # Without a pip of its own, which takes ten seconds to unpack and bring up to date: ours installs into it.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True, timeout=TIMEOUT_S)
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "install"]
    command += ["--quiet", "--no-compile", "-r", str(pulled[0]), "-c", str(ROOT / "constraints.txt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return python


def environment_of(registry: Path) -> dict[str, str]:
    """A stranger's environment, pointed at the registry; nothing of ours is on its path."""
    outside = ("PYTHON", "PREFECT_", "NIGHTSHIFT_", "MLFLOW_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    return kept | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{registry}/mlflow/mlflow.db",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "HF_HUB_OFFLINE": "1",
    }


def run(python: Path, script: str, *arguments: str, registry: Path, folder: Path) -> Any:
    """What a script prints last, as JSON; it runs in an empty folder."""
    done = subprocess.run(
        [str(python), "-c", script, *arguments],
        env=environment_of(registry),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("family", list(FAMILIES))
def test_mlflow_alone_loads_and_predicts_what_we_do(family, clean_python, registry, folders, tmp_path):
    found = run(clean_python, PYFUNC, family, json.dumps(INPUTS), registry=registry, folder=tmp_path)
    assert found == Predictor.load(folders[family]).predict(INPUTS)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_that_venv_serves_the_champion_over_rest(family, clean_python, registry, folders, tmp_path):
    uri = f"models:/{family}@champion"
    with mlflow_serves(uri, clean_python, environment_of(registry), folder=tmp_path) as port:
        body = json.dumps({"inputs": list(INPUTS)}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:
            found = json.load(reply)["predictions"]
    assert found == Predictor.load(folders[family]).predict(INPUTS)


def test_transformers_alone_loads_the_folders_and_predicts_what_we_do(clean_python, registry, folders, tmp_path):
    autos = {name: AUTO[read_options(folder)["architectures"][0]] for name, folder in folders.items()}
    # Placeholders are for `predict` to number and name, so the text has none.
    arguments = (json.dumps(autos), INPUTS[0])
    found = run(clean_python, TRANSFORMERS, *arguments, registry=registry, folder=tmp_path)
    assert found == {name: greedy_answer(folder, INPUTS[0]) for name, folder in folders.items()}


def greedy_answer(folder: Path, text: str) -> str:
    predictor = Predictor.load(folder)
    known = predictor.family.params.model_fields
    greedy = {"max_new_tokens": 8, "num_beams": 1, "temperature": 0.0}
    [answer] = predictor.predict([text], **{name: value for name, value in greedy.items() if name in known})
    return answer if isinstance(answer, str) else answer["label"]
