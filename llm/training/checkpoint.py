"""Checkpoints that a killed training continues from, bit for bit: safetensors and JSON, never pickle.

A checkpoint is a folder `step-000400` with `state.safetensors` (weights, optimizer moments, random state) and
`state.json` (everything else, and the SHA-256 of both). It gets its name when it is whole. The weights of the lowest
validation loss so far lie beside it, in `best/`, and belong to it: without them it is damaged.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from llm.errors import CheckpointError, StageError
from llm.files import canonical_json, fsync_folder, read_json, sha256_of, write_atomically, write_json
from llm.model.products import Products
from llm.training.averaging import WeightAverage
from llm.training.muon import Muon
from llm.training.random_state import ON_CPU, random_state, restore_random_state
from llm.training.stability import Stability

log = logging.getLogger(__name__)

_STATE = "state.json"
_TENSORS = "state.safetensors"
_BEST = "best"
_REMEDY = "an older checkpoint is used, or the training begins again"
# Prefixes of tensors.
_MODEL, _AVERAGE = "model.", "average."
# What each optimizer remembers of a parameter: a count, and tensors of the parameter's shape.
_COUNT = "step"
_STATES: dict[type[Optimizer], tuple[str, ...]] = {
    torch.optim.AdamW: (_COUNT, "exp_avg", "exp_avg_sq"),
    torch.optim.SparseAdam: (_COUNT, "exp_avg", "exp_avg_sq"),
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
    best_sha256: str = ""  # of the weights file of that step; empty: written before this was noted
    stale: int = 0  # validations since the best
    targets: int = 0  # predicted so far
    seconds: float = 0.0  # training time so far, over all resumes
    loss: float = 0.0  # summed since the last point of the curve, over so many targets:
    counted: int = 0
    validation_due: bool = False  # the step is done, and its validation is not
    finished: bool = False  # no step follows
    warm: float = 0.0  # of the seconds, those of the warm-up
    clocked: bool = False  # a time to end at, and not the configuration, decided on the learning rate of a step
    history: list[dict[str, float]] = field(default_factory=list)
    stability: Stability = field(default_factory=Stability)


@dataclass(frozen=True)
class Trained:
    """Everything that a step changes, and a checkpoint holds."""

    model: nn.Module
    optimizers: Sequence[Optimizer]
    average: WeightAverage

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device


def save_checkpoint(folder: Path, trained: Trained, *, progress: Progress, keep: int) -> None:
    """Write `folder/step-<step>` and delete all but the newest `keep`, and the newest that was not amid trouble."""
    name = f"step-{progress.step:08d}"
    for abandoned in folder.glob(".step-*.tmp"):
        shutil.rmtree(abandoned)
    temporary = folder / f".{name}.tmp"
    temporary.mkdir(parents=True)
    tensors = _tensors(trained)
    write_atomically(temporary / _TENSORS, lambda path: safetensors.torch.save_file(tensors, str(path)))
    values = asdict(progress)
    state = {"progress": values, "sha256": sha256_of(temporary / _TENSORS), "progress_sha256": _hash(values)}
    write_json(temporary / _STATE, state)
    final = folder / name
    if final.exists():  # a damaged one of the same step, which was passed over
        shutil.rmtree(final)
    os.replace(temporary, final)
    fsync_folder(folder)
    # A training whose trouble does not end goes back to it, and else to its beginning.
    calm = progress if progress.stability.calm else _newest_calm(folder, name) or progress
    _keep(folder, name, keep, besides=f"step-{calm.step:08d}", delete=shutil.rmtree)
    # Each checkpoint came with one better loss at most, so those that are left point at no older ones.
    best = _best_file(folder, progress).name
    _keep(folder / _BEST, best, keep, besides=_best_file(folder, calm).name, delete=Path.unlink)


def _newest_calm(folder: Path, newest: str) -> Progress | None:
    """Of the checkpoints up to `newest`."""
    for path in _checkpoints(folder):
        with suppress(CheckpointError, StageError):  # it will be passed over
            if path.name <= newest and (progress := _read_progress(path)[0]).stability.calm:
                return progress
    return None


def _keep(folder: Path, newest: str, keep: int, *, besides: str, delete: Callable[[Path], object]) -> None:
    """Delete all but `besides` and the `keep` up to `newest`: what is newer is from before, and was passed over."""
    names = sorted((path.name for path in folder.glob("[!.]*[0-9]*") if path.name <= newest), reverse=True)[:keep]
    for path in folder.glob("[!.]*[0-9]*"):
        if path.name not in (*names, besides):
            delete(path)


def save_best(folder: Path, model: nn.Module, progress: Progress) -> None:
    """Write the model's weights as those of `progress.best_step`.

    The older best stays: the newest checkpoint still points at it until the next one is written.
    """
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    path = _best_file(folder, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Ours, and those of safetensors, of writers that were killed.
    for abandoned in path.parent.glob(".*"):
        abandoned.unlink()
    write_atomically(path, lambda temporary: safetensors.torch.save_file(weights, str(temporary)))
    progress.best_sha256 = sha256_of(path)


def load_best(folder: Path, model: nn.Module, progress: Progress) -> None:
    """Fill the model with the weights of the lowest validation loss."""
    model.load_state_dict(safetensors.torch.load_file(str(_best_file(folder, progress))))


def _best_file(folder: Path, progress: Progress) -> Path:
    return folder / _BEST / f"{progress.best_step:08d}.safetensors"


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def load_newest(folder: Path, trained: Trained, *, calm: bool = False) -> Progress | None:
    """Fill model, optimizers, averages and the random state from the newest whole checkpoint; None when there is none.

    A damaged checkpoint is passed over with a warning; with `calm`, also one that was written amid trouble.
    """
    for path in _checkpoints(folder):
        try:
            progress, tensors = _read(path)
            _check_best(folder, progress)
            _require_all(path, tensors, trained)
        except (CheckpointError, StageError) as error:
            log.warning("checkpoint passed over: %s", error.problem)
            continue
        if calm and not progress.stability.calm:
            continue
        _restore(tensors, trained)
        return progress
    return None


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*"), reverse=True)


def _read_progress(path: Path) -> tuple[Progress, str]:
    """Of a checkpoint, and the SHA-256 of its tensors."""
    state: dict[str, Any] = read_json(path / _STATE)
    try:
        values, written = state["progress"], state["sha256"]
        # Older versions did not note the second.
        whole = state.get("progress_sha256", _hash(values)) == _hash(values)
        progress = _progress(values)
    except (KeyError, TypeError, AttributeError, ValueError):
        whole = False
    if not whole:
        raise CheckpointError(f"{path / _STATE}: is not what was written", remedy=_REMEDY)
    return progress, written


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    progress, written = _read_progress(path)
    tensors = path / _TENSORS
    _check(tensors, written)
    try:
        return progress, safetensors.torch.load_file(str(tensors))
    except (OSError, ValueError, RuntimeError, MemoryError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{tensors}: cannot be read ({error})", remedy=_REMEDY) from None


def _check_best(folder: Path, progress: Progress) -> None:
    if progress.best_step:
        _check(_best_file(folder, progress), progress.best_sha256)


def _check(path: Path, written: str) -> None:
    found = sha256_of(path) if path.is_file() else "no file"
    if found != written and (written or found == "no file"):
        raise CheckpointError(f"{path}: SHA-256 is {found}, but {written} was written", remedy=_REMEDY)


def _require_all(path: Path, tensors: dict[str, Tensor], trained: Trained) -> None:
    """Raise CheckpointError unless all that is put back is there and fits: half of it must never be put back."""
    for name, expected in _expected(tensors, trained):
        found = tensors.get(name)
        if found is None or found.shape != expected:
            what = "not there" if found is None else f"of shape {tuple(found.shape)}, not {tuple(expected)}"
            raise CheckpointError(f"{path / _TENSORS}: {name} is {what}", remedy=_REMEDY)


def _expected(tensors: dict[str, Tensor], trained: Trained) -> Iterator[tuple[str, torch.Size]]:
    yield from ((_MODEL + name, value.shape) for name, value in trained.model.state_dict().items())
    yield from ((_AVERAGE + name, value.shape) for name, value in trained.average.means.items())
    for name, parameter, optimizer in _optimized(trained):
        if _remembered(name, optimizer, tensors):
            for key in _STATES[type(optimizer)]:
                yield f"{key}.{name}", torch.Size([]) if key == _COUNT else parameter.shape
    for name, value in random_state(trained.device).items():
        if name in tensors or name == ON_CPU:  # one that was written on a CPU has none of a GPU
            yield name, value.shape


def _progress(values: dict[str, Any]) -> Progress:
    return Progress(**(values | {"stability": Stability(**values.get("stability", {}))}))


def _tensors(trained: Trained) -> dict[str, Tensor]:
    tensors = {_MODEL + name: value.contiguous() for name, value in trained.model.state_dict().items()}
    tensors |= {_AVERAGE + name: value.contiguous() for name, value in trained.average.means.items()}
    for name, parameter, optimizer in _optimized(trained):
        for key, value in optimizer.state[parameter].items():
            tensors[f"{key}.{name}"] = torch.as_tensor(value).contiguous()
    return tensors | random_state(trained.device)


def _restore(tensors: dict[str, Tensor], trained: Trained) -> None:
    trained.model.load_state_dict(_under(_MODEL, tensors))
    trained.average.load(_under(_AVERAGE, tensors))
    for name, parameter, optimizer in _optimized(trained):
        optimizer.state.pop(parameter, None)
        for key in _STATES[type(optimizer)] if _remembered(name, optimizer, tensors) else ():
            value = tensors[f"{key}.{name}"].to(parameter.device)
            # AdamW counts its steps in a float tensor, SparseAdam in a Python int.
            optimizer.state[parameter][key] = value if value.is_floating_point() else int(value)
    restore_random_state(tensors, trained.device)


def _remembered(name: str, optimizer: Optimizer, tensors: dict[str, Tensor]) -> bool:
    """False of a parameter that had taken no step yet: all up to there were skipped."""
    return any(f"{key}.{name}" in tensors for key in _STATES[type(optimizer)])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _optimized(trained: Trained) -> Iterator[tuple[str, nn.Parameter, Optimizer]]:
    """Each parameter with its name and its optimizer."""
    names = {id(parameter): name for name, parameter in trained.model.named_parameters()}
    for optimizer in trained.optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield names[id(parameter)], parameter, optimizer
