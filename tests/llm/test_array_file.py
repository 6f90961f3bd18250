"""Arrays written piece by piece are the file that safetensors writes, and come back from it as they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from llm.array_file import ArrayWriter, map_arrays

ARRAYS = {
    "z": np.arange(5, dtype=np.int64),
    "hashes": np.arange(5, dtype=np.uint64),
    "places": np.linspace(0.0, 1.0, 3),
    "b": np.arange(3, dtype=np.int32),
    "pairs": np.arange(6, dtype=np.int32).reshape(3, 2),
    "flags": np.array([True, False, True]),
    "empty": np.empty(0, dtype=np.int64),
    "a": np.arange(-2, 2, dtype=np.int32),
}


def written(path: Path, *, pieces: int) -> Path:
    with ArrayWriter(path) as writer:
        for name, values in ARRAYS.items():
            for piece in np.array_split(values, pieces):
                writer.append(name, piece)
        writer.save({"facts": '{"ü": "\\n"}'})
    return path


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_the_file_is_the_one_that_safetensors_writes(tmp_path: Path, pieces: int) -> None:
    safetensors.numpy.save_file(ARRAYS, str(tmp_path / "theirs"), {"facts": '{"ü": "\\n"}'})
    assert written(tmp_path / "ours", pieces=pieces).read_bytes() == (tmp_path / "theirs").read_bytes()


def test_arrays_and_metadata_come_back(tmp_path: Path) -> None:
    arrays, metadata = map_arrays(written(tmp_path / "file", pieces=2))
    assert set(arrays) == set(ARRAYS)
    for name, values in ARRAYS.items():
        assert (arrays[name].dtype, arrays[name].shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(arrays[name], values)
    assert metadata == {"facts": '{"ü": "\\n"}'}


def test_nothing_but_the_file_is_left_in_the_folder(tmp_path: Path) -> None:
    written(tmp_path / "file", pieces=2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_writer_that_never_saves_leaves_nothing(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "file") as writer:
        writer.append("a", ARRAYS["a"])
    assert list(tmp_path.iterdir()) == []


def test_a_piece_of_another_kind_is_refused(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "file") as writer:
        writer.append("a", ARRAYS["a"])
        with pytest.raises(ValueError, match=r"a is int32 \(\) a row, not int64 \(\)"):
            writer.append("a", ARRAYS["z"])
        with pytest.raises(ValueError, match=r"a is int32 \(\) a row, not int32 \(2,\)"):
            writer.append("a", ARRAYS["pairs"])
        with pytest.raises(ValueError, match="f is float32; a file of arrays holds uint64, int64, float64"):
            writer.append("f", np.zeros(2, dtype=np.float32))


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data + b"x", lambda data: data[:20]])
def test_a_file_of_another_length_is_refused(tmp_path: Path, damage) -> None:
    path = written(tmp_path / "file", pieces=1)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises((ValueError, safetensors.SafetensorError)):
        map_arrays(path)
