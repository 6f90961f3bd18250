"""A disk that takes no more is one clear error, whoever wrote; and what killed writers leave is cleared."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from llm.errors import StorageError
from llm.files import storing, temporary_folder, write_atomically, write_json
from llm.stages import StageSpec, run_stage

FULL = Path("/dev/full")


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file grows beyond 10 kB; nothing else of what a disk may refuse can be had without being root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_what_a_disk_refuses_is_told_with_file_and_reason(number: int, tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storing(tmp_path):
        raise OSError(number, os.strerror(number), str(tmp_path / "weights"))
    assert caught.value.problem == f"{tmp_path / 'weights'}: cannot be written ({os.strerror(number)})"
    assert "run again" in caught.value.remedy


def test_a_write_that_names_no_file_is_told_with_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, storing(tmp_path), FULL.open("w") as file:
        file.write("x" * 100_000)
    assert caught.value.problem == f"{tmp_path}: cannot be written (No space left on device)"


@pytest.mark.usefixtures("small_files")
def test_what_safetensors_is_refused_is_told_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File too large"), storing(tmp_path):
        safetensors.numpy.save_file({"x": np.zeros(100_000)}, tmp_path / "weights")


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "gone"), ValueError("error code: 28")])
def test_other_errors_stay_what_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)), storing(tmp_path):
        raise error


def test_a_stage_on_a_full_disk_ends_in_one_error_and_is_built_when_there_is_space(tmp_path: Path) -> None:
    spec = StageSpec(name="demo", version=1, config={}, inputs={})

    def fill(folder: Path) -> dict[str, int]:
        (folder / "rows").write_text("half")
        FULL.write_text("x" * 100_000)
        return {}

    with pytest.raises(StorageError, match=r"cannot be written \(No space left on device\)"):
        run_stage(spec, fill, root=tmp_path)
    assert not run_stage(spec, lambda _: {}, root=tmp_path).reused


def test_temporary_files_of_killed_writers_are_cleared_and_those_at_work_are_left(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".a.json.1.tmp", ".a.json.2.tmp", ".b.json.1.tmp"))
    for path in (old, new, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (0, 0))
    write_json(tmp_path / "a.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.2.tmp", ".b.json.1.tmp", "a.json"]


def test_temporary_folders_of_killed_processes_go_after_a_day_and_those_at_work_stay(tmp_path: Path) -> None:
    for name in (".got-old", ".got-new", ".got-growing", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / ".got-growing" / "file").write_text("fresh")
    for name in (".got-old", ".got-growing", "other"):
        os.utime(tmp_path / name, (0, 0))
    with temporary_folder(tmp_path, prefix=".got-") as made:
        assert Path(made).parent == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == [".got-growing", ".got-new", "other"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, lambda temporary: FULL.write_text("x" * 100_000))
    assert path.read_text() == '{\n  "old": 1\n}\n'
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]
