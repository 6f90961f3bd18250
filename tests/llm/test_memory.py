"""Memory that is not there, asked for by Python, numpy and torch, and by a process that may have no more."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llm.errors import MemoryShortageError
from llm.memory import shortage
from llm.stages import StageSpec, run_stage

_ABSURD = 1 << 50
_CHILD = """
import resource, sys
import torch
from pathlib import Path
from llm.errors import MemoryShortageError
from llm.stages import StageSpec, run_stage
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))
spec = StageSpec(name="training", version=1, config={}, inputs={})
def build(folder):
    (folder / "half.txt").write_text("half")
    return {"sum": float(torch.ones(2**28).sum())}
try:
    run_stage(spec, build, root=Path(sys.argv[1]))
except MemoryShortageError as error:
    print(error.problem)
"""


@pytest.mark.parametrize("ask", [lambda: torch.empty(_ABSURD), lambda: np.empty(_ABSURD), lambda: bytearray(_ABSURD)])
def test_whoever_asked_for_too_much_the_stage_is_named_and_not_made(tmp_path: Path, ask) -> None:
    spec = StageSpec(name="training", version=1, config={}, inputs={})
    with pytest.raises(MemoryShortageError, match=r"^training: memory ran out") as raised:
        run_stage(spec, lambda folder: ask() and {}, root=tmp_path)
    assert "training.batch_tokens" in raised.value.remedy
    assert not list(tmp_path.glob("training/[!.]*"))


def test_a_process_at_its_limit_says_how_much_it_asked_for(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _CHILD, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout == "training: memory ran out (1,073,741,824 bytes more were asked for)\n", done.stderr


def test_a_gpu_that_is_full_counts_and_other_failures_do_not() -> None:
    assert shortage(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")) == "2.00 GiB"
    assert shortage(OSError(errno.ENOMEM, "Cannot allocate memory")) == ""
    assert shortage(OSError(errno.ENOSPC, "No space left on device")) is None
    assert shortage(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert shortage(ValueError("out of memory")) is None
