"""A training sets its machine up and leaves it as it was."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
import torch

from llm.training.machine import deterministic


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
