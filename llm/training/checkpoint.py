"""Checkpoints that a killed training continues from, bit for bit: safetensors and JSON, never pickle.

A checkpoint is a folder `step-000400` with `state.safetensors` (weights, optimizer moments, random state) and
`state.json` (everything else, and the SHA-256 of the former). It gets its name when it is whole.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from llm.errors import CheckpointError, StageError
from llm.files import fsync_folder, read_json, sha256_of, write_atomically, write_json
from llm.model.products import Products
from llm.training.averaging import WeightAverage
from llm.training.muon import Muon

log = logging.getLogger(__name__)

_STATE = "state.json"
_TENSORS = "state.safetensors"
# Prefixes of tensors.
_MODEL, _AVERAGE = "model.", "average."
# What each optimizer remembers of a parameter.
_STATES: dict[type[Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.SparseAdam: ("step", "exp_avg", "exp_avg_sq"),
    Muon: ("momentum",),
}


@dataclass
class Progress:
    """How far a training is: all of its state that is not a tensor."""

    products: Products  # how matrices are multiplied
    step: int = 0  # optimizer steps done
    epoch: int = 0
    batch: int = 0  # batches done in this epoch
    best_step: int = 0
    best_loss: float | None = None  # nats a target on the validation split
    stale: int = 0  # validations since the best
    targets: int = 0  # predicted so far
    seconds: float = 0.0  # training time so far, over all resumes
    loss: float = 0.0  # summed since the last point of the curve, over so many targets:
    counted: int = 0
    validation_due: bool = False  # the step is done, and its validation is not
    finished: bool = False  # no step follows
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """Everything that a step changes, and a checkpoint holds."""

    model: nn.Module
    optimizers: Sequence[Optimizer]
    average: WeightAverage


def save_checkpoint(folder: Path, trained: Trained, *, progress: Progress, keep: int) -> None:
    """Write `folder/step-<step>` and delete all but the newest `keep`."""
    name = f"step-{progress.step:08d}"
    temporary = folder / f".{name}.tmp"
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(parents=True)
    tensors = _tensors(trained)
    write_atomically(temporary / _TENSORS, lambda path: safetensors.torch.save_file(tensors, str(path)))
    state = {"progress": asdict(progress), "sha256": sha256_of(temporary / _TENSORS)}
    write_json(temporary / _STATE, state)
    final = folder / name
    if final.exists():  # a damaged one of the same step, which was passed over
        shutil.rmtree(final)
    os.replace(temporary, final)
    fsync_folder(folder)
    for old in _checkpoints(folder)[keep:]:
        shutil.rmtree(old)


def load_newest(folder: Path, trained: Trained) -> Progress | None:
    """Fill model, optimizers, averages and the random state from the newest whole checkpoint; None when there is none.

    A damaged checkpoint is passed over with a warning.
    """
    for path in _checkpoints(folder):
        try:
            progress, tensors = _read(path)
        except (CheckpointError, StageError) as error:
            log.warning("checkpoint passed over: %s", error.problem)
            continue
        _restore(tensors, trained)
        return progress
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    state: dict[str, Any] = read_json(path / _STATE)
    tensors = path / _TENSORS
    found = sha256_of(tensors) if tensors.exists() else "no file"
    if found != state["sha256"]:
        raise CheckpointError(
            f"{tensors}: SHA-256 is {found}, but {state['sha256']} was written", remedy="an older checkpoint is used"
        )
    return Progress(**state["progress"]), safetensors.torch.load_file(str(tensors))


def _tensors(trained: Trained) -> dict[str, Tensor]:
    tensors = {_MODEL + name: value.contiguous() for name, value in trained.model.state_dict().items()}
    tensors |= {_AVERAGE + name: value.contiguous() for name, value in trained.average.means.items()}
    for name, parameter, optimizer in _optimized(trained):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
    tensors["random_state"] = torch.get_rng_state()
    return tensors


def _restore(tensors: dict[str, Tensor], trained: Trained) -> None:
    trained.model.load_state_dict(_under(_MODEL, tensors))
    trained.average.load(_under(_AVERAGE, tensors))
    for name, parameter, optimizer in _optimized(trained):
        for key in _STATES[type(optimizer)]:
            value = tensors[f"{key}.{name}"].to(parameter.device)
            # AdamW counts its steps in a float tensor, SparseAdam in a Python int.
            optimizer.state[parameter][key] = value if value.is_floating_point() else int(value)
    torch.set_rng_state(tensors["random_state"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimized(trained: Trained) -> Iterator[tuple[str, nn.Parameter, Optimizer]]:
    """Each parameter with its name and its optimizer."""
    names = {id(parameter): name for name, parameter in trained.model.named_parameters()}
    for optimizer in trained.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield names[id(parameter)], parameter, optimizer
