"""Old stages: found by when they were last used, removed whole, and never while somebody needs them."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from filelock import FileLock

from llm.errors import StageError
from llm.pruning import OldStage, remove, unneeded_stages
from llm.stages import Stage, StageSpec, lock_of, run_stage

NOW = datetime.now(UTC)
LIMIT = NOW - timedelta(days=30)


def spec(name: str, **inputs: Stage | str) -> StageSpec:
    return StageSpec(name=name, version=1, config={}, inputs=inputs)


def build(name: str, root: Path, **inputs: Stage | str) -> Stage:
    def write(folder: Path) -> dict[str, int]:
        (folder / "rows.txt").write_bytes(b"12345")
        return {"rows": 1}

    return run_stage(spec(name, **inputs), write, root=root)


def age(path: Path, *, days: float) -> None:
    then = (NOW - timedelta(days=days)).timestamp()
    os.utime(path, (then, then))


def half_built(root: Path, *, days: float) -> Path:
    folder = root / "training" / ".partial-abc"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "weights").write_bytes(b"123")
    for path in (folder / "checkpoints" / "weights", folder / "checkpoints", folder):
        age(path, days=days)
    return folder


def found(root: Path, *keep: str) -> list[OldStage]:
    return unneeded_stages(root, unused_since=LIMIT, keep=lambda: keep)


def test_stages_are_old_by_their_last_use_and_the_longest_unused_come_first(tmp_path: Path) -> None:
    ages = {"tokens": 31, "corpus": 40, "shard": 29}
    for name, days in ages.items():
        age(build(name, tmp_path).path / "manifest.json", days=days)
    old = found(tmp_path)
    assert [(stage.name, stage.whole) for stage in old] == [("corpus", True), ("tokens", True)]
    assert old[0].used == pytest.approx((NOW - timedelta(days=40)).timestamp(), abs=1)
    assert old[0].bytes == 5 + (old[0].path / "manifest.json").stat().st_size


def test_a_stage_that_is_used_again_is_young_again(tmp_path: Path) -> None:
    age(build("corpus", tmp_path).path / "manifest.json", days=40)
    assert build("corpus", tmp_path).reused
    assert found(tmp_path) == []


def test_what_is_removed_is_gone_and_can_be_built_again(tmp_path: Path) -> None:
    stage = build("corpus", tmp_path)
    age(stage.path / "manifest.json", days=31)
    assert [one.key for one in remove(found(tmp_path), root=tmp_path)] == [stage.key]
    assert [path.name for path in tmp_path.glob("corpus/*") if path.is_dir()] == []
    assert not build("corpus", tmp_path).reused


def test_a_training_that_was_given_up_goes_too_but_not_one_that_wrote_lately(tmp_path: Path) -> None:
    folder = half_built(tmp_path, days=31)
    (folder / "checkpoints" / "newer").write_bytes(b"")
    assert found(tmp_path) == []
    for path in (folder / "checkpoints" / "newer", folder / "checkpoints"):
        age(path, days=31)
    [old] = found(tmp_path)
    assert (old.key, old.whole, old.bytes) == ("abc", False, 3)
    remove([old], root=tmp_path)
    assert not folder.exists()


def test_what_a_stage_came_from_is_kept_with_it(tmp_path: Path) -> None:
    corpus = build("corpus", tmp_path)
    tokens = build("tokens", tmp_path, corpus=corpus, archive="sha256:1")
    training = build("training", tmp_path, tokens=tokens)
    other = build("training", tmp_path, corpus=corpus)
    for stage in (corpus, tokens, training, other):
        age(stage.path / "manifest.json", days=31)
    assert [stage.key for stage in found(tmp_path, training.key, "gone")] == [other.key]


def test_what_a_stage_in_use_came_from_is_kept_though_only_that_is_looked_at(tmp_path: Path) -> None:
    shard = build("shard", tmp_path)
    corpus = build("corpus", tmp_path, shard=shard)
    older = build("corpus", tmp_path)
    for stage in (shard, corpus, older):
        age(stage.path / "manifest.json", days=31)
    build("corpus", tmp_path, shard=shard)
    assert [stage.key for stage in found(tmp_path)] == [older.key]


def test_nobody_is_asked_what_to_keep_where_nothing_is_old(tmp_path: Path) -> None:
    build("corpus", tmp_path)
    assert unneeded_stages(tmp_path, unused_since=LIMIT, keep=lambda: pytest.fail("asked")) == []


def test_a_stage_that_was_used_since_it_was_looked_at_is_kept(tmp_path: Path) -> None:
    age(build("corpus", tmp_path).path / "manifest.json", days=31)
    old = found(tmp_path)
    build("corpus", tmp_path)
    assert remove(old, root=tmp_path) == []
    assert build("corpus", tmp_path).reused


def test_a_stage_that_is_being_built_is_kept(tmp_path: Path) -> None:
    folder = half_built(tmp_path, days=31)
    with FileLock(lock_of(folder.parent, "abc")):
        assert remove(found(tmp_path), root=tmp_path) == []
    assert (folder / "checkpoints" / "weights").exists()


def test_lock_files_go_with_their_stages_and_stay_with_those_that_stay(tmp_path: Path) -> None:
    kept, gone, partial = build("corpus", tmp_path, kept="1"), build("corpus", tmp_path), half_built(tmp_path, days=1)
    age(gone.path / "manifest.json", days=31)
    with FileLock(lock_of(partial.parent, "abc")):
        pass
    with FileLock(lock_of(partial.parent, "long-gone")):
        pass
    remove(found(tmp_path), root=tmp_path)
    left = {lock_of(kept.path.parent, kept.key), lock_of(partial.parent, "abc")}
    assert set(tmp_path.glob("*/.*.lock")) == left


def test_one_process_removes_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    age(build("corpus", tmp_path).path / "manifest.json", days=31)
    monkeypatch.setattr("llm.removal._LOCK_TIMEOUT_S", 0.0)
    with FileLock(tmp_path / ".pruning.lock"), pytest.raises(StageError, match="another process has been removing"):
        remove(found(tmp_path), root=tmp_path)
    assert len(remove(found(tmp_path), root=tmp_path)) == 1


def test_a_removal_that_was_killed_is_ended_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".removed" / "corpus-abc-1"
    left.mkdir(parents=True)
    (left / "manifest.json").write_text("{}")
    age(left / "manifest.json", days=31)
    assert found(tmp_path) == []
    remove([], root=tmp_path)
    assert not left.exists()


def test_what_cannot_be_removed_is_told_and_keeps_nothing_else_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = build("corpus", tmp_path), build("tokens", tmp_path)
    age(first.path / "manifest.json", days=32)
    age(second.path / "manifest.json", days=31)
    old = found(tmp_path)
    shutil.rmtree(first.path)
    first.path.write_text("a file now")
    in_its_way = tmp_path / ".removed" / f"corpus-{first.key}-{os.getpid()}"
    in_its_way.mkdir(parents=True)
    (in_its_way / "file").write_text("")
    assert [stage.key for stage in remove(old, root=tmp_path)] == [second.key]
    assert f"{first.path} cannot be removed: " in caplog.text
    assert list((tmp_path / ".removed").iterdir()) == []


def test_a_stage_that_goes_while_it_is_opened_is_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = build("corpus", tmp_path)
    renew = os.utime

    def too_late(path: Path) -> None:
        monkeypatch.setattr(os, "utime", renew)
        shutil.rmtree(stage.path)
        renew(path)

    monkeypatch.setattr(os, "utime", too_late)
    assert not build("corpus", tmp_path).reused


@pytest.mark.parametrize("name", ["notes", ".hidden"])
def test_a_folder_that_is_no_stage_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "corpus" / name
    folder.mkdir(parents=True)
    age(folder, days=31)
    assert found(tmp_path) == []


def test_what_a_killed_process_wrote_beside_the_stages_goes_even_where_nothing_is_old(tmp_path: Path) -> None:
    build("corpus", tmp_path)
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    half = tmp_path / f".checksums.json.{dead.pid}.tmp"
    half.write_text("{")
    age(half, days=1)
    assert remove(found(tmp_path), root=tmp_path) == []
    assert not half.exists()


def test_a_home_without_stages_has_nothing_old_and_stays_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "stages"
    assert remove(found(root), root=root) == []
    assert not root.exists()
