"""A training sets its machine up and leaves it as it was."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys

import pytest
import torch

from llm.training.machine import deterministic, few_kernels_kept


def test_threads_and_algorithms_are_restored() -> None:
    before = torch.get_num_threads()
    with deterministic(before + 1):
        assert torch.get_num_threads() == before + 1
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory


# The compiler of torch takes longer to import than a toy takes to be scored.
_LIST_MODULES = """
import sys
from llm.training.machine import deterministic

with deterministic(1):
    print(sorted(name for name in sys.modules if name in ("torch._dynamo", "torch._inductor", "sympy")))
"""


def test_the_compiler_is_not_imported() -> None:
    found = subprocess.run([sys.executable, "-c", _LIST_MODULES], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


# Pages that the system had to map for twenty tensors of 16 MB, each freed before the next is made: before, within and
# after. In a process of its own, since the allocator adapts to what a process did before.
_COUNT_PAGES = """
import resource, torch
from llm.training.machine import freed_memory_kept

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(4 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

outside = pages()
with freed_memory_kept():
    torch.ones(4 << 20)
    inside = pages()
print(outside, inside, pages())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_freed_memory_is_found_mapped_by_the_next_tensor() -> None:
    found = subprocess.run([sys.executable, "-c", _COUNT_PAGES], capture_output=True, text=True, check=True)
    outside, inside, after = map(int, found.stdout.split())
    tensor = 16 * 2**20 // resource.getpagesize()
    assert inside < tensor
    assert min(outside, after) > tensor


# Products of 600 shapes, and then of the first one again: oneDNN tells of each whether it had the kernel. In a process
# of its own, since the first product of a process fixes how many are kept.
_PRODUCTS = """
import sys, torch
from llm.training.machine import few_kernels_kept

def multiply(rows):
    torch.mm(torch.ones(rows, 64, dtype=torch.bfloat16), torch.ones(64, 64, dtype=torch.bfloat16))

with few_kernels_kept():
    multiply(1000)
for rows in range(1001, 1600):
    multiply(rows)
for rows in sys.argv[1:]:
    multiply(int(rows))
"""


def _kernels(*rows: int, **settings: str) -> list[bool]:
    """Whether a process of those `settings` had the kernel of each product, the last ones of that many `rows`."""
    environment = os.environ | {"ONEDNN_VERBOSE": "2"} | settings
    command = [sys.executable, "-c", _PRODUCTS, *map(str, rows)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [found == "hit" for found in re.findall(r"primitive,create:cache_(hit|miss),cpu,matmul", told)]


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="torch asks oneDNN for bfloat16 only here")
def test_kernels_of_batches_long_past_are_forgotten_and_those_of_the_last_ones_kept() -> None:
    *first, again, last = _kernels(1000, 1599)
    assert first == [False] * 600
    assert not again
    assert last


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="torch asks oneDNN for bfloat16 only here")
def test_a_user_may_have_more_kernels_kept() -> None:
    assert _kernels(1000, ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024")[-1]


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    before = dict(os.environ)
    with few_kernels_kept():
        assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "512"
    assert dict(os.environ) == before
