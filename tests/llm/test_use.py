"""What a process holds: known to all others, for as long as it lives, and found again where it went in between."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llm.use import held, hold, note_use, unheld

HOLDER = """
import sys
from pathlib import Path
from llm.use import hold
print(hold(Path(sys.argv[1])), flush=True)
input()
"""


def test_what_a_process_holds_is_held_until_that_process_ends(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        with pytest.raises(BlockingIOError), unheld(tmp_path):
            pytest.fail("it is held")
    finally:
        holder.kill()
        holder.communicate()
    with unheld(tmp_path):
        pass


def test_several_may_hold_and_holding_again_takes_no_further_descriptor(tmp_path: Path) -> None:
    assert hold(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    assert hold(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_holding_renews_the_time(tmp_path: Path) -> None:
    os.utime(tmp_path, (0, 0))
    hold(tmp_path)
    assert tmp_path.stat().st_mtime > 1e9


def test_what_is_gone_cannot_be_held_and_its_use_not_noted(tmp_path: Path) -> None:
    assert not hold(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        note_use(tmp_path / "gone")


def test_a_folder_that_goes_while_somebody_comes_to_hold_it_is_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    opened, made = threading.Event(), []

    def find() -> Path:
        folder.mkdir(exist_ok=True)
        made.append(folder.stat().st_ino)
        opened.set()
        return folder

    finder = threading.Thread(target=held, args=(find,))
    with unheld(folder):
        finder.start()
        assert opened.wait(60)
        # `finder` waits for the lock, or finds nothing under the name: either way it has to find again.
        folder.rename(tmp_path / "removed")
    finder.join()
    assert len(made) == 2
    with pytest.raises(BlockingIOError), unheld(folder):
        pytest.fail("it is held")


def test_a_folder_that_another_took_the_place_of_is_not_taken_for_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    lock = fcntl.flock

    def too_late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        folder.rename(tmp_path / "removed")
        folder.mkdir()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", too_late)
    assert not hold(folder)
    with unheld(folder), unheld(tmp_path / "removed"):
        pass
