"""Folders that nothing has used for long: removed whole, and never under the hands of who fills or holds them."""

from __future__ import annotations

import fcntl
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from llm.errors import StageError
from llm.removal import Unused, remove_folders, remove_locks, remove_temporaries, unused
from llm.use import hold, note_use

NOW = datetime.now(UTC)
LIMIT = NOW - timedelta(days=30)


def make(path: Path, *, days: float, size: int = 5) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"x" * size)
    then = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (then, then))
    return path


def found(root: Path) -> list[Unused]:
    return unused(root.glob("[!.]*/"), since=LIMIT)


def lock_of(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lock")


def test_the_longest_unused_comes_first_with_its_size(tmp_path: Path) -> None:
    for name, days in {"a": 31, "b": 40, "c": 29}.items():
        make(tmp_path / name, days=days, size=int(days))
    assert [(one.path.name, one.bytes) for one in found(tmp_path)] == [("b", 40), ("a", 31)]


def test_a_file_is_old_by_its_own_time_and_a_link_never(tmp_path: Path) -> None:
    make(tmp_path / "folder", days=31)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "file").write_bytes(b"123")
    os.utime(tmp_path / "file", (0, 0))
    assert [(one.path.name, one.bytes) for one in unused(tmp_path.iterdir(), since=LIMIT)] == [
        ("file", 3),
        ("folder", 5),
    ]


def test_what_is_removed_is_gone_and_told(tmp_path: Path) -> None:
    old, young = make(tmp_path / "old", days=31), make(tmp_path / "young", days=29)
    assert [one.path for one in remove_folders(found(tmp_path), root=tmp_path)] == [old]
    assert (old.exists(), young.exists()) == (False, True)
    assert list((tmp_path / ".removed").iterdir()) == []


def test_what_was_used_since_it_was_looked_at_stays(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", days=31)
    old = found(tmp_path)
    note_use(folder)
    assert remove_folders(old, root=tmp_path) == []
    assert (folder / "file").exists()


def test_what_somebody_holds_stays_however_old_it_is(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", days=31)
    hold(folder)
    os.utime(folder, (0, 0))
    assert remove_folders(found(tmp_path), root=tmp_path) == []
    assert (folder / "file").exists()


def test_what_is_being_filled_stays(tmp_path: Path) -> None:
    folder = make(tmp_path / "a", days=31)
    with FileLock(lock_of(folder)):
        assert remove_folders(found(tmp_path), root=tmp_path, lock_of=lock_of) == []
    assert (folder / "file").exists()
    assert len(remove_folders(found(tmp_path), root=tmp_path, lock_of=lock_of)) == 1


def test_what_is_gone_already_is_told_and_keeps_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = make(tmp_path / "a", days=32), make(tmp_path / "b", days=31)
    old = found(tmp_path)
    first.rename(tmp_path / "elsewhere")
    assert [one.path for one in remove_folders(old, root=tmp_path)] == [second]
    assert f"{first} cannot be removed: " in caplog.text


def test_two_processes_do_not_remove_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llm.removal._LOCK_TIMEOUT_S", 0.0)
    with FileLock(tmp_path / ".pruning.lock"), pytest.raises(StageError, match="another process has been removing"):
        remove_folders([], root=tmp_path)


def test_where_nothing_was_ever_kept_nothing_is_made(tmp_path: Path) -> None:
    assert remove_folders(found(tmp_path / "none"), root=tmp_path / "none") == []
    assert not (tmp_path / "none").exists()


def test_lock_files_go_with_what_they_lock_but_for_those_that_are_held(tmp_path: Path) -> None:
    for key in ("gone", "there", "held"):
        with FileLock(tmp_path / f".{key}.lock"):
            pass
    with FileLock(tmp_path / ".held.lock"):
        remove_locks(tmp_path, needed=lambda key: key == "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".held.lock", ".there.lock"]


def test_what_a_killed_process_had_begun_to_write_goes_and_what_others_write_stays(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    gone, fresh, ours = (tmp_path / f".{name}.tmp" for name in (f"a.json.{dead.pid}", f"b.json.{dead.pid}", "a.json.1"))
    for path in (gone, fresh, ours, tmp_path / "a.json", tmp_path / ".a.json.notes.tmp"):
        path.write_text("half")
        if path != fresh:
            os.utime(path, (0, 0))
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {fresh.name, ours.name, "a.json", ".a.json.notes.tmp"}


def test_who_waits_for_a_lock_file_that_is_removed_locks_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".a.lock"
    lock = fcntl.flock

    def behind_the_removal(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        path.unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", behind_the_removal)
    with FileLock(path), path.open() as locked, pytest.raises(BlockingIOError):
        lock(locked.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
