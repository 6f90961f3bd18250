"""Named arrays in one safetensors file, written piece by piece and read through a memory map.

`safetensors.numpy` writes the same bytes, but needs every array whole, and reads every array whole.
"""

from __future__ import annotations

import json
import mmap
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from llm.files import write_atomically

# In the order in which safetensors lays them out, so that each stands at a multiple of its size.
_DTYPES: dict[str, np.dtype[Any]] = {
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F64": np.dtype(np.float64),
    "I32": np.dtype(np.int32),
    "BOOL": np.dtype(np.bool_),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_ALIGNMENT = 8


@dataclass
class _Growing:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    file: IO[bytes]


class ArrayWriter:
    """Arrays that grow along their first axis, on disk beside `path`; `save` makes `path` of them, atomically.

    To be used in a `with` block, at whose end the pieces are gone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays: dict[str, _Growing] = {}
        self._files = ExitStack()

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()

    def append(self, name: str, values: NDArray[Any]) -> None:
        """Put `values` (int64, int32 or bool) behind what `name` has so far."""
        if name not in self._arrays:
            if values.dtype not in _CODES:
                raise ValueError(f"{name} is {values.dtype}; a file of arrays holds {', '.join(map(str, _CODES))}")
            # It has no name in the folder, so a crash leaves nothing there; the `with` around the writer closes it.
            file = tempfile.TemporaryFile(dir=self._path.parent)  # noqa: SIM115
            self._files.enter_context(file)
            self._arrays[name] = _Growing(values.dtype, (0, *values.shape[1:]), file)
        array = self._arrays[name]
        if (values.dtype, values.shape[1:]) != (array.dtype, array.shape[1:]):
            raise ValueError(f"{name} is {array.dtype} {array.shape[1:]} a row, not {values.dtype} {values.shape[1:]}")
        array.file.write(np.ascontiguousarray(values).data)
        array.shape = (array.shape[0] + values.shape[0], *array.shape[1:])

    def save(self, metadata: Mapping[str, str]) -> None:
        """Write `path`."""
        order = list(_CODES)
        names = sorted(self._arrays, key=lambda name: (order.index(self._arrays[name].dtype), name))
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        end = 0
        for name in names:
            array = self._arrays[name]
            start, end = end, end + array.file.tell()
            code = _CODES[array.dtype]
            header[name] = {"dtype": code, "shape": array.shape, "data_offsets": (start, end)}
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _ALIGNMENT)

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                file.write(len(text).to_bytes(8, "little") + text)
                for name in names:
                    self._arrays[name].file.seek(0)
                    shutil.copyfileobj(self._arrays[name].file, file)

        write_atomically(self._path, write)


def map_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays of a file, read-only and read from disk where they are touched, and its metadata.

    Raises OSError, ValueError, KeyError, TypeError or SafetensorError when it is missing or damaged.
    """
    # Checks that the header is whole, and that the arrays fill the file to its last byte.
    with safetensors.safe_open(str(path), framework="numpy") as checked:
        metadata = checked.metadata() or {}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + size + offset for offset in entry["data_offsets"])
            # The map lives for as long as an array does.
            values = np.frombuffer(memoryview(mapped)[start:end], dtype=np.uint8)
            arrays[name] = values.view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays, metadata
