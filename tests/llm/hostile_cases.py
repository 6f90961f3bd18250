"""What hostile files are made with: cases by name, each with what its refusal must name."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
PICKLE_HEAD = b"\x80\x04"


@dataclass(frozen=True)
class Made:
    """What a case may use: `given` is its folder, a copy of a good model where the opener reads one."""

    given: Path
    canary: Path  # must never exist


@dataclass(frozen=True)
class Case:
    """`kind` is the class of the error, `names` the file that its sentence must name."""

    opener: str
    make: Callable[[Made], None]
    kind: str
    names: str


CASES: dict[str, Case] = {}


def case(
    opener: str, names: str, kind: str = "ModelFolderError"
) -> Callable[[Callable[[Made], None]], Callable[[Made], None]]:
    def add(make: Callable[[Made], None]) -> Callable[[Made], None]:
        CASES[make.__name__] = Case(opener, make, kind, names)
        return make

    return add


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def weights_with(made: Made, **changes: torch.Tensor) -> None:
    path = made.given / WEIGHTS
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights | changes, path)


def raw_weights(made: Made, header: bytes, data: bytes = b"", *, length: int | None = None) -> None:
    size = len(header) if length is None else length
    (made.given / WEIGHTS).write_bytes(struct.pack("<Q", size) + header + data)


def sparse(path: Path, size: int = 1 << 30) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


# What is beside a good model and is never opened: the model loads.
HARMLESS: dict[str, Callable[[Made], None]] = {}


def harmless(make: Callable[[Made], None]) -> Callable[[Made], None]:
    HARMLESS[make.__name__] = make
    return make


def fill(case: Case, made: Made, good: dict[str, Path]) -> None:
    """Copy the model that the opener reads, then damage it."""
    if case.opener in good:
        shutil.copytree(good[case.opener], made.given)
    else:
        made.given.mkdir(parents=True)
    case.make(made)
