"""The commands on registered versions, over a real registry with two versions of a toy model that really answers."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployments.cli import app
from llm.predictor import Predictor
from llm.stages import StageSpec, run_stage
from tasks.registry.aliases import Aliases, read_aliases
from tasks.registry.connection import client
from tasks.registry.logged_model import ModelToLog
from tasks.registry.runs import DatasetRecord, TrainingIdentity, training_run
from tasks.registry.versions import Measured, Version, champion, promote, register

CARD = "# classification, version 2\n\n- für alle\n"
runner = CliRunner()


@pytest.fixture(scope="module")
def registry(toy_training, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in whose registry version 1 was champion and version 2 is."""
    home = tmp_path_factory.mktemp("home")
    folder = toy_training.path / "model"
    with pytest.MonkeyPatch.context() as patch:
        settle_in(home, patch)
        first = add_version(folder, "k1", steps=20, accuracy=0.5, rows=240)
        first = promote(first, over=None, reasons=("the first",), description="")
        second = add_version(folder, "k2", steps=40, accuracy=0.75, rows=250)
        promote(second, over=first, reasons=("better",), description=CARD, p_value=0.0123, level=0.05)
        yield home


@pytest.fixture(autouse=True)
def at_home(registry: Path, nightshift_home: Path, monkeypatch: pytest.MonkeyPatch, own_environment: None) -> None:
    """Back from the empty home that every test gets to the shared one, whose champion is version 2."""
    settle_in(registry, monkeypatch)
    client().set_registered_model_alias("classification", "champion", "2")
    client().set_registered_model_alias("classification", "previous", "1")


def settle_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("NIGHTSHIFT_HOME", str(folder))
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow/mlflow.db")
    patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def add_version(folder: Path, key: str, *, steps: int, accuracy: float, rows: int) -> Version:
    data = DatasetRecord("toy/train", digest=key, source="{}", context="train", facts={"rows": rows})
    params = {"training": {"steps": steps, "warmup": 4}}
    identity = TrainingIdentity("classification", key, params, datasets=(data,), tags={"mlflow.source.git.commit": key})
    model = ModelToLog(folder, "classification", key, inputs=["apple"], answers=[{"label": "fruit"}], params={})
    with training_run(identity) as run:
        return register(run, model, Measured({"accuracy": accuracy}, {}, "c0ffee"), step=steps)


def nightshift(*arguments: str) -> Result:
    return runner.invoke(app, list(arguments))


def aliases() -> Aliases:
    return read_aliases(client(), "classification")


def assert_refused(done: Result, problem: str, remedy: str) -> None:
    assert done.exit_code == 2, done.output
    first, last = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert problem in first
    assert last.startswith("remedy: ")
    assert remedy in last


def test_a_rollback_moves_the_champion_and_tells_what_was_tested_and_how_to_undo_it(registry):
    done = nightshift("rollback", "classification", "--why", "customers complain")
    assert done.exit_code == 0, done.output
    head, tested, undo = done.stdout.splitlines()
    assert head == "classification: version 1 is champion, version 2 was: rolled back"
    assert "loads in a fresh process and answers 2 of 2 inputs" in tested
    assert undo.endswith("nightshift rollback classification")
    assert aliases().versions["champion"] == 1
    assert aliases().versions["previous"] == 2
    entry = aliases().ledger.entries[-1]
    assert (entry.what, entry.before, entry.after, entry.why) == ("rolled back", 2, 1, ("customers complain",))


def test_a_promotion_by_hand_is_written_down_with_its_reason(registry):
    done = nightshift("promote", "classification", "previous", "--why", "it has the better tone")
    assert done.exit_code == 0, done.output
    entry = aliases().ledger.entries[-1]
    assert (entry.what, entry.after, entry.why) == ("promoted by hand", 1, ("it has the better tone",))
    assert champion("classification").version == 1


@pytest.mark.parametrize("command", [["rollback", "classification"], ["promote", "classification", "1", "--why", "x"]])
def test_a_damaged_version_is_refused_and_the_champion_untouched(registry, command):
    before = aliases()
    weights = weights_of(1)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        assert_refused(nightshift(*command), "SHA-256 of model.safetensors is", "the artifacts were damaged or changed")
    finally:
        weights.write_bytes(whole)
    assert aliases() == before


def weights_of(number: int) -> Path:
    source = client().get_model_version("classification", str(number)).source
    model_id = source.rpartition("/")[2]
    location = client().get_logged_model(model_id).artifact_location
    return Path(location.removeprefix("file://")) / "artifacts" / "model" / "model.safetensors"


@pytest.mark.parametrize(
    ("arguments", "problem", "remedy"),
    [
        (["rollback", "poetry"], "there is no family 'poetry'", "use one of generation, translation, classification"),
        (["rollback", "translation"], "translation has no champion to roll back", "nightshift history translation"),
        (["rollback", "classification", "--to", "9"], "classification has no version '9'", "1, 2, champion, previous"),
        (["rollback", "classification", "--to", "2"], "version 2 is the champion of classification already", "another"),
        (["promote", "poetry", "1", "--why", "x"], "there is no family 'poetry'", "use one of"),
        (["promote", "classification", "9", "--why", "x"], "classification has no version '9'", "name one of 1, 2"),
        (["promote", "classification", "2", "--why", "x"], "version 2 is the champion", "name another version"),
        (["promote", "classification", "1", "--why", " "], "--why ' ' gives no reason", "say in a sentence"),
        (["history", "poetry"], "there is no family 'poetry'", "use one of"),
        (["diff", "classification", "1", "best"], "classification has no version 'best'", "name one of 1, 2"),
        (["pull", "classification", "{tmp}/new", "--version", "9"], "classification has no version '9'", "name one of"),
        (["pull", "classification", "{tmp}"], "is there already, and not an empty folder", "name a new folder"),
        (["pull", "classification", "{tmp}/file"], "is there already, and not an empty folder", "name a new folder"),
        (["pull", "classification", "{tmp}/file/new"], "file/new: cannot be written", "name another folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_two_lines_that_name_the_value_and_the_remedy(registry, tmp_path, arguments, problem, remedy):
    before = aliases()
    (tmp_path / "file").write_text("in the way")
    assert_refused(nightshift(*[text.format(tmp=tmp_path) for text in arguments]), problem, remedy)
    assert aliases() == before
    assert not (tmp_path / "new").exists()


def test_the_history_ends_with_the_newest_move_and_says_where_the_alias_differs(registry):
    client().set_registered_model_alias("classification", "champion", "1")
    client().set_registered_model_alias("classification", "champion", str(aliases().ledger.champion))
    lines = nightshift("history", "classification").stdout.splitlines()
    assert lines[0].split() == ["when", "(UTC)", "what", "from", "to", "p-value", "level", "who", "why"]
    assert "promoted" in lines[1]
    assert lines[1].endswith("the first")
    assert lines[2].split()[0] == "2"
    assert "0.0123   0.05" in lines[2]
    assert "right now" not in lines[-1]
    other = 3 - aliases().ledger.champion
    client().set_registered_model_alias("classification", "champion", str(other))
    last = nightshift("history", "classification").stdout.splitlines()[-1]
    assert last.startswith(f"right now version {other} is champion, and the ledger says version {3 - other}")


def test_a_family_without_a_champion_has_an_empty_history():
    assert nightshift("history", "translation").stdout.startswith("translation has had no champion yet")


def test_only_what_differs_is_shown_side_by_side():
    rows = [line.split("  ") for line in nightshift("diff", "classification", "1", "champion").stdout.splitlines()]
    cells = {row[0]: [cell.strip() for cell in row[1:] if cell] for row in rows}
    assert cells == {
        "classification": ["version 1", "version 2"],
        "test/accuracy": ["0.5", "0.75"],
        "git commit": ["k1", "k2"],
        "data toy/train": ["k1, rows: 240", "k2, rows: 250"],
        "training.steps": ["20", "40"],
    }


def test_a_version_does_not_differ_from_itself():
    assert nightshift("diff", "classification", "2", "champion").stdout == (
        "classification: version 2 and version 2 do not differ\n"
    )


@pytest.mark.parametrize("there", [True, False], ids=["empty folder", "new folder"])
def test_a_pulled_folder_loads_and_its_sums_are_accepted(tmp_path, there):
    folder = tmp_path / "a" / "model"
    if there:
        folder.mkdir(parents=True)
    done = nightshift("pull", "classification", str(folder), "--version", "previous")
    assert done.exit_code == 0, done.output
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= listed
    assert len(Predictor.load(folder).predict(["apple pear"])) == 1
    assert os.listdir(folder.parent) == ["model"]


def test_a_corrupt_download_is_refused_and_nothing_is_left_behind(tmp_path):
    weights = weights_of(2)
    whole = weights.read_bytes()
    weights.write_bytes(whole + b"\0")
    try:
        done = nightshift("pull", "classification", str(tmp_path / "pulled"))
    finally:
        weights.write_bytes(whole)
    found = hashlib.sha256(whole + b"\0").hexdigest()
    assert_refused(done, f"SHA-256 of model.safetensors is {found}", "restore them")
    assert not (tmp_path / "pulled").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_pulled_champion_is_the_hugging_face_folder(tmp_path):
    nightshift("pull", "classification", str(tmp_path / "pulled"))
    config = json.loads((tmp_path / "pulled" / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]


def test_the_card_of_a_version_is_the_readme_of_its_folder_and_one_without_a_card_has_none(tmp_path):
    for version, expected in (("2", CARD), ("1", None)):
        folder = tmp_path / version
        assert nightshift("pull", "classification", str(folder), "--version", version).exit_code == 0
        readme = folder / "README.md"
        assert (readme.read_text(encoding="utf-8") if readme.exists() else None) == expected


def test_clean_says_what_it_removes_by_kind_and_removes_nothing_in_a_dry_run(registry: Path) -> None:
    old = run_stage(StageSpec(name="corpus", version=1, config={}, inputs={}), lambda _: {}, root=registry / "stages")
    os.utime(old.path / "manifest.json", (0, 0))
    size = (old.path / "manifest.json").stat().st_size
    places = (
        "downloads/remote/abc/a.txt",
        "champions/classification/k0/weights",
        "champions/classification/k1/weights",
    )
    folders = [aged(registry / place, bytes=5).parent for place in places]
    spool = aged(registry / "spool" / "k0.jsonl", bytes=7)
    what = (
        f"1 stage that nothing has used for 30 days: 1 corpus, {size} B; "
        "1 download: 5 B; 1 model copy: 5 B; 1 file of metrics: 7 B\n"
    )
    assert nightshift("clean", "--dry-run").stdout == f"would remove {what}"
    assert all(path.exists() for path in (old.path, *folders, spool))
    assert nightshift("clean").stdout == f"removed {what}"
    # Version 1 is `previous`.
    assert [path.exists() for path in (old.path, *folders, spool)] == [False, False, False, True, False]
    shutil.rmtree(folders[-1])
    told = "removed no stages, downloads, model copies or metrics that nothing has used for 7 days\n"
    assert nightshift("clean", "--days", "7").stdout == told


def test_clean_tells_what_there_is_where_no_stage_is_old(registry: Path) -> None:
    aged(registry / "spool" / "k0.jsonl", bytes=7)
    aged(registry / "spool" / "k9.jsonl", bytes=7)
    assert nightshift("clean").stdout == "removed 2 files of metrics that nothing has used for 30 days: 14 B\n"


def aged(path: Path, *, bytes: int) -> Path:  # noqa: A002 - as OldStage calls it
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x" * bytes)
    for old in (path, path.parent):
        os.utime(old, (0, 0))
    return path
