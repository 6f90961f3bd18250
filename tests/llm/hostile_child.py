"""Opens hostile files as the product does: one fork a case, with a bound on its memory; one JSON line a case.

Run as `python hostile_child.py ROOT`: ROOT/<case>/given holds the files, ROOT/<case>/work is where the product may
write, and ROOT/cases.json says which opener each case is for.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from flows.configuration import read_yaml
from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.corpora.package_archive import open_archive
from llm.errors import CheckpointError, NightshiftError
from llm.model.encoder import EncoderClassifier
from llm.model.folder import load_model
from llm.model.pretrained import FolderWeights, PretrainedEncoder, pretrained_stage
from llm.predictor import Predictor
from llm.stages import open_stage, restore_stage, verify_stage
from llm.training.averaging import WeightAverage
from llm.training.checkpoint import Trained, load_newest
from llm.training.start import Start

_MORE_MEMORY = 768 << 20
_LONGEST_S = 60


def predictor(given: Path, work: Path) -> None:
    Predictor.load(given, device="cpu").predict(["apple pear plum"])


def converted(given: Path, work: Path) -> None:
    Predictor.load(given, device="cpu", engine="ctranslate2-float32")


def pretrained(given: Path, work: Path) -> None:
    weights = FolderWeights(path=str(given))
    pretrained_stage(PretrainedEncoder(weights=weights), root=work, downloads=work)


def start(given: Path, work: Path) -> None:
    model = load_model(given.parent.parent / "good")
    Start(folder=given, key="k", training="t", tokenizer="t", before=None).fill(model)


def checkpoint(given: Path, work: Path) -> None:
    """A damaged checkpoint is passed over: what is told then is the refusal."""
    told: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    logging.getLogger("llm.training.checkpoint").addHandler(Listening())
    model = load_model(given.parent.parent / "good")
    assert isinstance(model, EncoderClassifier)
    optimizer = torch.optim.AdamW(model.parameters())
    if load_newest(given, Trained(model, [optimizer], WeightAverage(model, decay=0.9))) is None:
        raise CheckpointError(" ".join(told), remedy="an older one is used")


def stage(given: Path, work: Path) -> None:
    verify_stage(open_stage(given))


def restored(given: Path, work: Path) -> None:
    manifest = json.loads((given / "manifest.json").read_text())
    restore_stage(manifest, lambda folder: None, root=work)


def recipe(given: Path, work: Path) -> None:
    read_yaml(given / "recipe.yaml")


def wheel(given: Path, work: Path) -> None:
    with open_archive(given / "package.whl") as archive:
        archive.testzip()


def corpus(given: Path, work: Path) -> None:
    (path,) = given.iterdir()
    kind = next(kind for kind in ("parquet", "csv", "txt") if kind in (*path.name.split("."), "txt"))
    columns = {} if kind == "txt" else {"text": "body"}
    config = LocalFilesConfig(format=kind, paths=(str(path),), columns=columns)
    for item in LocalFiles().records(config, downloads=work):
        if reason := getattr(item, "reason", None):
            raise NightshiftError(f"{item.origin}: {reason}", remedy="it is in the quarantine")


OPENERS: dict[str, Callable[[Path, Path], None]] = {
    one.__name__: one
    for one in (predictor, converted, pretrained, start, checkpoint, stage, restored, recipe, wheel, corpus)
}


def outcome(opener: Callable[[Path, Path], None], folder: Path) -> dict[str, Any]:
    try:
        opener(folder / "given", folder / "work")
    except NightshiftError as error:
        return {"kind": type(error).__name__, "problem": error.problem}
    except BaseException as error:
        return {"kind": f"not ours: {type(error).__name__}", "problem": str(error)[:2000]}
    return {"kind": "opened", "problem": ""}


def bounded(opener: Callable[[Path, Path], None], folder: Path) -> dict[str, Any]:
    """The outcome in a fork; one that dies or hangs has the signal as its outcome."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + _MORE_MEMORY, taken + _MORE_MEMORY))
        signal.alarm(_LONGEST_S)  # what hangs, as at a pipe, is ended too
        with os.fdopen(writing, "w") as pipe:
            pipe.write(json.dumps(outcome(opener, folder)))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(text) if text else {"kind": f"died with status {status}", "problem": ""}


def main(root: Path) -> None:
    torch.set_num_threads(1)  # the threads of a pool do not live on in a fork
    for name, opener in json.loads((root / "cases.json").read_text()).items():
        sys.stdout.write(json.dumps({"case": name, **bounded(OPENERS[opener], root / name)}) + "\n")
        sys.stdout.flush()  # else each fork would write it again


if __name__ == "__main__":
    main(Path(sys.argv[1]))
