"""Stage folders: built once, found again, whole or not there."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest

from llm.errors import StageError
from llm.files import HashedFile, sha256_of
from llm.stages import Built, StageSpec, open_stage, restore_stage, run_stage, verify_stage


def spec(**changes: object) -> StageSpec:
    values: dict[str, object] = {"name": "demo", "version": 1, "config": {"size": 3}, "inputs": {"corpus": "abc"}}
    return StageSpec(**(values | changes))  # type: ignore[arg-type]


def write_number(folder: Path) -> dict[str, int]:
    (folder / "number.txt").write_text("41")
    return {"rows": 1}


def test_a_stage_is_built_once_and_then_reused(tmp_path: Path) -> None:
    first = run_stage(spec(), write_number, root=tmp_path)
    second = run_stage(spec(), lambda folder: pytest.fail("built again"), root=tmp_path)
    assert (first.reused, second.reused) == (False, True)
    assert second.path == tmp_path / "demo" / spec().key
    assert second.facts == {"rows": 1}
    assert second.manifest["inputs"] == {"corpus": "abc"}


def test_who_waits_long_for_another_to_build_a_stage_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("llm.stages._SILENT_S", 0.0)
    building, told = threading.Event(), threading.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    def build(folder: Path) -> dict[str, int]:
        building.set()
        assert told.wait(60)
        return write_number(folder)

    ear = Ear()
    logging.getLogger("llm.stages").addHandler(ear)
    first = threading.Thread(target=lambda: run_stage(spec(), build, root=tmp_path))
    first.start()
    try:
        with caplog.at_level(logging.INFO, logger="llm.stages"):
            assert building.wait(60)
            assert run_stage(spec(), write_number, root=tmp_path).reused
    finally:
        first.join()
        logging.getLogger("llm.stages").removeHandler(ear)
    assert f"another process builds {tmp_path / 'demo' / spec().key}: this one waits for it" in caplog.text


@pytest.mark.parametrize(
    "change", [{"version": 2}, {"config": {"size": 4}}, {"inputs": {"corpus": "abd"}}, {"name": "other"}]
)
def test_whatever_decides_the_content_decides_the_key(change: dict[str, object]) -> None:
    assert spec(**change).key != spec().key


def test_the_order_of_options_does_not_matter() -> None:
    assert spec(config={"a": 1, "b": 2}).key == spec(config={"b": 2, "a": 1}).key


def test_a_builder_that_fails_leaves_no_stage_and_the_next_starts_clean(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, int]:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_stage(spec(), fail, root=tmp_path)
    stage = run_stage(spec(), write_number, root=tmp_path)
    assert sorted(path.name for path in stage.path.iterdir()) == ["manifest.json", "number.txt"]


def test_a_resumable_stage_finds_what_it_left(tmp_path: Path) -> None:
    def fail(folder: Path) -> dict[str, int]:
        (folder / "half.txt").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_stage(spec(resumable=True), fail, root=tmp_path)
    seen = []

    def resume(folder: Path) -> dict[str, int]:
        seen.extend(path.name for path in folder.iterdir())
        return write_number(folder)

    run_stage(spec(resumable=True), resume, root=tmp_path)
    assert seen == ["half.txt"]


def test_two_at_once_build_once(tmp_path: Path) -> None:
    built = []
    entered, go_on = threading.Event(), threading.Event()

    def slow(folder: Path) -> dict[str, int]:
        built.append(1)
        entered.set()
        assert go_on.wait(timeout=30)
        return write_number(folder)

    stages = []
    threads = [threading.Thread(target=lambda: stages.append(run_stage(spec(), slow, root=tmp_path))) for _ in range(2)]
    threads[0].start()
    assert entered.wait(timeout=30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(timeout=30)
    assert len(built) == 1
    assert sorted(stage.reused for stage in stages) == [False, True]


def test_a_file_of_another_size_is_named(tmp_path: Path) -> None:
    stage = run_stage(spec(), write_number, root=tmp_path)
    (stage.path / "number.txt").write_text("4")
    with pytest.raises(StageError, match=r"number\.txt: 1 bytes"):
        open_stage(stage.path)


def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path) -> None:
    stage = run_stage(spec(), write_number, root=tmp_path)
    verify_stage(stage)
    (stage.path / "number.txt").write_text("40")
    with pytest.raises(StageError, match=r"number\.txt: SHA-256"):
        verify_stage(open_stage(stage.path))


def test_a_manifest_that_is_not_json_is_named(tmp_path: Path) -> None:
    stage = run_stage(spec(), write_number, root=tmp_path)
    (stage.path / "manifest.json").write_text(json.dumps(stage.manifest)[:-5])
    with pytest.raises(StageError, match=r"manifest\.json"):
        run_stage(spec(), write_number, root=tmp_path)


def test_a_hashed_file_holds_what_was_written_and_knows_its_sum(tmp_path: Path) -> None:
    pieces = [bytes([number]) * 5000 for number in range(20)]
    with HashedFile(tmp_path / "file") as file:
        for piece in pieces:
            file.write(piece)
        digest = file.sha256()
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)
    assert digest == sha256_of(tmp_path / "file")


def test_sums_that_a_builder_took_are_those_of_the_manifest(tmp_path: Path) -> None:
    def build(folder: Path) -> Built:
        (folder / "known").write_text("a", encoding="utf-8")
        (folder / "other").write_text("b", encoding="utf-8")
        return Built({"rows": 1}, {"known": "taken before"})

    stage = run_stage(StageSpec(name="s", version=1, config={}, inputs={}), build, root=tmp_path)
    assert stage.facts == {"rows": 1}
    assert stage.manifest["files"]["known"]["sha256"] == "taken before"
    assert stage.manifest["files"]["other"]["sha256"] == sha256_of(stage.path / "other")


def test_a_stage_is_put_back_where_its_files_are_those_of_the_manifest(tmp_path: Path) -> None:
    first = run_stage(spec(), write_number, root=tmp_path / "one")
    back = restore_stage(first.manifest, write_number, root=tmp_path / "two")
    assert (back.key, back.manifest, back.path) == (first.key, first.manifest, tmp_path / "two" / "demo" / first.key)
    assert run_stage(spec(), lambda folder: pytest.fail("built again"), root=tmp_path / "two").reused


def test_a_stage_with_other_files_is_not_put_back(tmp_path: Path) -> None:
    first = run_stage(spec(), write_number, root=tmp_path / "one")
    for number, write in enumerate([lambda folder: (folder / "number.txt").write_text("42"), lambda folder: None]):
        with pytest.raises(StageError, match=r"number\.txt is not the file that its manifest names"):
            restore_stage(first.manifest, write, root=tmp_path / f"other {number}")
        assert not (tmp_path / f"other {number}" / "demo" / first.key).exists()


def test_a_resumable_stage_clears_what_was_half_written_but_for_its_scratch_folder(tmp_path: Path) -> None:
    resumable = spec(resumable=True, scratch="checkpoints")

    def killed(folder: Path) -> dict[str, int]:
        for name in ("checkpoints", "model"):
            (folder / name).mkdir()
            (folder / name / ".half.7.tmp").write_text("half")
        (folder / ".facts.json.7.tmp").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run_stage(resumable, killed, root=tmp_path)

    def build(folder: Path) -> dict[str, int]:
        assert [path.name for path in folder.iterdir()] == ["checkpoints"]
        return write_number(folder)

    stage = run_stage(resumable, build, root=tmp_path)
    assert sorted(path.name for path in stage.path.iterdir()) == ["manifest.json", "number.txt"]
    assert list(stage.manifest["files"]) == ["number.txt"]


def test_a_scratch_folder_is_there_until_the_stage_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumable = spec(resumable=True, scratch="checkpoints")

    def build(folder: Path) -> dict[str, int]:
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "state").write_text("all that was learnt")
        return {"rows": 1}

    class Killed(BaseException):
        pass

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("llm.stages.os.replace", kill)
        with pytest.raises(Killed):
            run_stage(resumable, build, root=tmp_path)
    (partial,) = tmp_path.glob("demo/.partial-*")
    assert (partial / "checkpoints" / "state").exists()
    with monkeypatch.context() as patch:
        patch.setattr("llm.stages.shutil.rmtree", kill)
        with pytest.raises(Killed):
            run_stage(resumable, build, root=tmp_path)
    stage = run_stage(resumable, lambda folder: pytest.fail("built again"), root=tmp_path)
    assert [path.name for path in stage.path.iterdir()] == ["manifest.json"]


def test_a_stage_is_put_back_though_a_crash_left_half_of_it(tmp_path: Path) -> None:
    stage = run_stage(spec(), write_number, root=tmp_path / "first")
    half = tmp_path / "second" / "demo" / f".partial-{stage.key}"
    half.mkdir(parents=True)
    (half / "other.txt").write_text("half")
    restored = restore_stage(stage.manifest, lambda folder: write_number(folder) and None, root=tmp_path / "second")
    assert sorted(path.name for path in restored.path.iterdir()) == ["manifest.json", "number.txt"]
