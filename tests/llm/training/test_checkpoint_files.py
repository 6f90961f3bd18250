"""What a crash may leave of the files of a training, and what the next run makes of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from llm.files import sha256_of
from llm.training.averaging import WeightAverage
from llm.training.checkpoint import Progress, Trained, load_best, load_newest, save_best, save_checkpoint
from llm.training.stability import Stability


def trained() -> Trained:
    model = nn.Linear(3, 2)
    return Trained(model, [torch.optim.AdamW(model.parameters())], WeightAverage(model, decay=0.5))


def step(some: Trained) -> None:
    """So that the optimizer has moments to keep."""
    some.model(torch.ones(1, 3)).sum().backward()
    for optimizer in some.optimizers:
        optimizer.step()


def written(folder: Path, *steps: int, keep: int = 2) -> Trained:
    """A checkpoint at each of these steps, of which each is the best so far."""
    some = trained()
    for number in steps:
        step(some)
        progress = Progress("float32", step=number, best_step=number, best_loss=1.0 / number)
        save_best(folder, some.model, progress)
        save_checkpoint(folder, some, progress=progress, keep=keep)
    return some


def test_best_weights_that_no_kept_checkpoint_points_at_are_deleted(tmp_path: Path) -> None:
    written(tmp_path, 2, 4, 6, 8)
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        "00000006.safetensors",
        "00000008.safetensors",
    ]
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000006", "step-00000008"]


def test_the_newest_checkpoint_of_before_a_trouble_is_kept_with_its_best_weights_until_there_is_a_newer_one(
    tmp_path: Path,
) -> None:
    some = written(tmp_path, 2, 4, keep=1)
    for number in (5, 6):  # each with a best of its own, which a validation amid trouble may bring
        progress = Progress("float32", step=number, best_step=number, best_loss=0.1, stability=Stability(bad=1))
        save_best(tmp_path, some.model, progress)
        save_checkpoint(tmp_path, some, progress=progress, keep=1)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000004", "step-00000006"]
    back = load_newest(tmp_path, some, calm=True)
    assert back is not None
    assert back.step == 4
    save_checkpoint(tmp_path, some, progress=Progress("float32", step=7, best_step=6), keep=1)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-00000007"]


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_checkpoint_whose_best_weights_are_damaged_is_passed_over(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = written(tmp_path, 2, 4)
    best = tmp_path / "best" / "00000004.safetensors"
    data = bytearray(best.read_bytes())
    data[-1] ^= 1
    best.write_bytes(data) if damage == "flipped" else best.unlink()
    with caplog.at_level(logging.WARNING):
        progress = load_newest(tmp_path, some)
    assert progress is not None
    assert progress.step == 2
    assert str(best) in caplog.text
    load_best(tmp_path, some.model, progress)


def test_a_state_file_that_was_changed_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    some = written(tmp_path, 2, 4)
    state = tmp_path / "step-00000004" / "state.json"
    values = json.loads(state.read_text())
    values["progress"]["stale"] = 7
    state.write_text(json.dumps(values))
    with caplog.at_level(logging.WARNING):
        progress = load_newest(tmp_path, some)
    assert progress is not None
    assert progress.step == 2
    assert f"{state}: is not what was written" in caplog.text


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "of another shape"])
@pytest.mark.parametrize("name", ["model.weight", "average.weight", "exp_avg.weight", "step.bias", "random_state"])
def test_a_checkpoint_of_which_one_tensor_does_not_fit_is_passed_over_and_nothing_of_it_put_back(
    name: str, lost: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = written(tmp_path, 2, 4)
    file = tmp_path / "step-00000004" / "state.safetensors"
    tensors = safetensors.torch.load_file(str(file))
    if lost:
        del tensors[name]
    else:
        tensors[name] = tensors[name].flatten().repeat(7)
    safetensors.torch.save_file(tensors, str(file))
    state = file.with_name("state.json")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"sha256": sha256_of(file)}))
    with caplog.at_level(logging.WARNING):
        progress = load_newest(tmp_path, some)
    assert progress is not None
    assert progress.step == 2
    assert f"{file}: {name} is {'not there' if lost else 'of shape'}" in caplog.text


def test_a_checkpoint_of_an_older_version_is_read(tmp_path: Path) -> None:
    some = written(tmp_path, 2)
    state = tmp_path / "step-00000002" / "state.json"
    values = json.loads(state.read_text())
    del values["progress_sha256"], values["progress"]["best_sha256"]
    state.write_text(json.dumps(values))
    progress = load_newest(tmp_path, some)
    assert progress is not None
    assert (progress.step, progress.best_sha256) == (2, "")


def test_half_written_checkpoints_are_cleared_by_the_next_one(tmp_path: Path) -> None:
    for name in (".step-00000001.tmp", "best"):
        (tmp_path / name).mkdir()
    (tmp_path / ".step-00000001.tmp" / "state.safetensors").write_bytes(b"half")
    (tmp_path / "best" / ".00000001.safetensors.7.tmp").write_bytes(b"half")
    written(tmp_path, 2)
    left = [path.name for path in tmp_path.rglob(".*")]
    assert left == []
