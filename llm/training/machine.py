"""How a training uses its machine: threads, repeatable sums, memory."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

# The numbers of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65_536}
_NEVER = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}
# How many kernels oneDNN keeps, and how many descriptions of them ideep, by which torch asks for them: a translator's
# step takes 56 kernels, and a classifier's come back within some hundreds.
_KERNELS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "512", "LRU_CACHE_CAPACITY": "128"}


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Deterministic algorithms and a fixed number of threads inside; what was set before is restored after."""
    filling: Any = torch.utils.deterministic  # a module whose attribute no type checker sees
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), filling.fill_uninitialized_memory
    torch.set_num_threads(threads)
    # `use_deterministic_algorithms` sets the same switch, and imports the compiler to tell it too: 1.5 s that each
    # process would wait for a compiler that nothing here uses.
    torch.set_deterministic_debug_mode("error")
    # It would fill every new tensor, to catch code that reads what nothing wrote; none of ours does.
    filling.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        filling.fill_uninitialized_memory = before[2]


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Inside, memory that tensors give back stays with the process, so that the next step finds it mapped.

    By default, glibc returns every large block to the system, which has to clear its pages anew for the next one: a
    quarter of a small model's training. Where there is no glibc, nothing changes.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    _set(library, _NEVER)
    try:
        yield
    finally:
        _set(library, _DEFAULTS)
        library.malloc_trim(0)


@contextmanager
def few_kernels_kept() -> Iterator[None]:
    """Inside, the first product that oneDNN computes in this process fixes how many kernels stay: half of its default.

    It makes one for each shape of matrices, and keeps 1,024. Batches of texts seldom have the shapes of an earlier one,
    so that most are never asked for again; but with what belongs to it each takes a megabyte, and lies between the
    tensors. On a Zen 5 processor the search for room in a heap torn like that took 18 % of the first thread's time.
    Fewer still would be better for a translator, but a classifier would make half of its kernels again. What the user
    has set stays.
    """
    added = {name: number for name, number in _KERNELS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _set(library: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        library.mallopt(option, value)
