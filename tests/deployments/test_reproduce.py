"""From a registered version back to where it came from, and forward again: the same bits, or what differs and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
from made_rows import row
from typer.testing import CliRunner, Result

from deployments.cli import app
from flows.configuration import load_config
from llm.chain import corpus_of, evaluation_of, tokenizer_of, tokens_of
from llm.families import FAMILIES, load_family
from llm.files import read_json, sha256_of
from llm.recipe import Recipe
from llm.training.stage import training_stage
from llm.training.start import choose_start
from tasks.provenance import training_identity
from tasks.registering import register_training
from tasks.registry.connection import client
from tasks.registry.folders import champion_folder
from tasks.registry.runs import training_run
from tasks.registry.versions import Version, champion, promote

pytestmark = pytest.mark.slow

runner = CliRunner()


def write_rows(path: Path, family: str, numbers: range) -> None:
    path.write_text("".join(json.dumps(row(family, number)) + "\n" for number in numbers))


def recipe_of(family: str, folder: Path, **options: object) -> Recipe:
    """The smoke preset over all files of a family in `folder`."""
    columns = {name: name for name in load_family(family).fields}
    paths = [str(folder / f"{family}-*.jsonl")]
    corpus = {"source": "local_files", "format": "jsonl", "paths": paths, "columns": columns}
    splits = {"validation": 0.2, "test": 0.2}
    overrides = {"corpus": corpus, "splits": splits, "training.context": 32, "training.threads": 1, **options}
    return load_config(family, preset="smoke", overrides=overrides).recipe


def train_and_promote(recipe: Recipe, root: Path) -> Version:
    """What a night does, without Prefect and without a gate."""
    corpus = corpus_of(recipe, root=root, downloads=root)
    rival = champion(recipe.family)
    start = choose_start(recipe, corpus, champion_folder(rival) if rival and recipe.start == "champion" else None)
    tokenizer = tokenizer_of(recipe, corpus, start, root=root, downloads=root)
    tokens = tokens_of(recipe, corpus, tokenizer, root=root)
    stages = {"corpus": corpus, "tokens": tokens, "tokenizer": tokenizer, "start": start}
    with training_run(training_identity(recipe, **stages)) as run:
        training = training_stage(recipe, **stages, root=root, report=lambda step, values: None)
        evaluation = evaluation_of(recipe, training, corpus, root=root)
        version = register_training(
            recipe, run, corpus=corpus, training=training, evaluation=evaluation, baselines={}, root=root
        )
    return promote(version, over=rival, reasons=("it is the newest",), description="")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for family in FAMILIES:
        write_rows(folder / f"{family}-monday.jsonl", family, range(200))
    return folder


@pytest.fixture(scope="module")
def registry(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose registry has a champion of each family; its stages are gone, as on another machine."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        settle_in(home, patch)
        for family in FAMILIES:
            train_and_promote(recipe_of(family, data), home / "stages")
        shutil.rmtree(home / "stages")
        yield home


@pytest.fixture(autouse=True)
def at_home(
    registry: Path, nightshift_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_environment: None
) -> None:
    """Back from the empty home that every test gets to the shared one; what is built again is built in `tmp_path`."""
    settle_in(registry, monkeypatch)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def settle_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("NIGHTSHIFT_HOME", str(folder))
    patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow/mlflow.db")
    patch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def nightshift(*arguments: str) -> Result:
    return runner.invoke(app, list(arguments))


def table_of(done: Result) -> dict[str, list[str]]:
    """The comparison: recorded, rebuilt and same, by the name of the line."""
    rows = [line.split() for line in done.stdout.splitlines()]
    return {cells[0]: cells[1:] for cells in rows if len(cells) == 4 and cells[-1] in ("yes", "NO")}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_version_is_built_again_to_the_bit(family: str) -> None:
    done = nightshift("reproduce", f"models:/{family}@champion")
    assert done.exit_code == 0, done.output
    found = table_of(done)
    assert list(found)[:4] == ["corpus", "tokenizer", "tokens", "weights"]
    assert set(found) >= set(champion(family).metrics)
    assert {cells[-1] for cells in found.values()} == {"yes"}
    assert found["weights"][0] == champion(family).files["model.safetensors"][:16]
    assert done.stdout.splitlines()[-1].startswith(f"{family} version 1 is reproduced")


def test_a_kept_folder_holds_the_stages(tmp_path: Path) -> None:
    done = nightshift("reproduce", "classification/1", "--keep")
    assert done.exit_code == 0, done.output
    [folder] = tmp_path.glob("nightshift-reproduce-*")
    assert f"kept: {folder}" in done.stdout
    assert {path.name for path in (folder / "stages").iterdir()} >= {"corpus", "tokenizer", "tokens", "training"}


def test_a_source_that_changed_is_named_before_anything_is_trained(data: Path, tmp_path: Path) -> None:
    path = data / "classification-monday.jsonl"
    whole, before = path.read_text(), sha256_of(path)
    try:
        path.write_text(whole.replace("house", "horse", 1))
        done = nightshift("reproduce", "classification")
        assert f"{path}: SHA-256 was {before}, is {sha256_of(path)}" in done.stdout
    finally:
        path.write_text(whole)
    assert done.exit_code == 1, done.output
    assert table_of(done) == {}
    assert list(tmp_path.glob("nightshift-reproduce-*")) == []


def test_a_source_that_is_gone_or_new_is_named(data: Path) -> None:
    path = data / "classification-monday.jsonl"
    moved = path.rename(data / "classification-tuesday.jsonl")
    try:
        done = nightshift("reproduce", "classification")
    finally:
        moved.rename(path)
    assert done.exit_code == 1, done.output
    assert f"{path}: is gone" in done.stdout
    assert f"{moved}: is new" in done.stdout


def test_weights_that_were_altered_in_the_registry_are_found_with_the_tensor_and_by_how_much() -> None:
    folder = champion_artifacts("classification")
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    tensors = safetensors.torch.load_file(file)
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[0] += 0.25
    try:
        safetensors.torch.save_file(tensors, file, metadata={"format": "pt"})
        done = nightshift("reproduce", "classification")
    finally:
        file.write_bytes(whole)
    assert done.exit_code == 1, done.output
    found = table_of(done)
    assert {line: cells[-1] for line, cells in found.items()} == {
        "corpus": "yes",
        "tokenizer": "yes",
        "tokens": "yes",
        "weights": "NO",
        "accuracy": "yes",
        "macro_f1": "yes",
    }
    assert f"- {name}: by up to 0.25" in done.stdout
    assert "SHA-256 of model.safetensors is" in done.stdout
    assert "the first thing to differ is weights" in done.stdout
    assert "likely because the registered files were changed" in done.stdout


def champion_artifacts(family: str) -> Path:
    source = client().get_model_version(family, str(champion(family).version)).source
    model = client().get_logged_model(source.rpartition("/")[2])
    return Path(model.artifact_location.removeprefix("file://")) / "artifacts" / "model"


def test_another_package_and_another_processor_are_told_before_the_work_and_as_the_likely_reason() -> None:
    run_id = champion("translation").run_id
    path = client().download_artifacts(run_id, "environment.json")
    recorded = read_json(Path(path))
    other = {**recorded, "processor": "Z80", "packages": {**recorded["packages"], "torch": "0.1"}}
    metrics = champion("translation").metrics
    client().log_dict(run_id, other, "environment.json")
    client().set_model_version_tag("translation", "1", "nightshift.metrics", json.dumps({**metrics, "bleu": 99.0}))
    try:
        done = nightshift("reproduce", "translation")
    finally:
        client().log_dict(run_id, recorded, "environment.json")
        client().set_model_version_tag("translation", "1", "nightshift.metrics", json.dumps(dict(metrics)))
    assert done.exit_code == 1, done.output
    warned, _, compared = done.stdout.partition("recorded")
    assert "Z80" in warned
    assert "torch" in warned
    assert "the first thing to differ is bleu" in compared
    assert f"torch was 0.1 and is {recorded['packages']['torch']}" in compared
    assert f"processor was Z80 and is {recorded['processor']}" in compared


def test_a_night_that_went_on_from_the_champion_over_a_grown_corpus_is_built_again(
    registry: Path, data: Path, tmp_path: Path
) -> None:
    shutil.copy(data / "translation-monday.jsonl", tmp_path)
    stages = registry / "stages"
    warm = {"start": "champion", "training.steps": 12}
    train_and_promote(recipe_of("translation", tmp_path), stages)
    write_rows(tmp_path / "translation-tuesday.jsonl", "translation", range(200, 260))
    second = train_and_promote(recipe_of("translation", tmp_path, **warm), stages)
    with (tmp_path / "translation-tuesday.jsonl").open("a") as file:
        file.write(json.dumps(row("translation", 300)) + "\n")
    third = train_and_promote(recipe_of("translation", tmp_path, **warm), stages)
    shutil.rmtree(stages)
    done = nightshift("reproduce", f"translation/{third.version}")
    assert done.exit_code == 0, done.output
    assert {cells[-1] for cells in table_of(done).values()} == {"yes"}
    told = nightshift("lineage", "translation").stdout
    assert f"the weights {second.files['model.safetensors'][:16]}" in told
    client().delete_model_version("translation", str(second.version))
    refused = nightshift("reproduce", "translation")
    assert refused.exit_code == 2
    assert f"went on from the weights {second.files['model.safetensors'][:16]}, which no version" in refused.stderr


def test_lineage_tells_data_tokenizer_code_environment_and_runs_from_an_alias_alone() -> None:
    version = champion("generation")
    done = nightshift("lineage", "generation")
    assert done.exit_code == 0, done.output
    values = json.loads(nightshift("lineage", "generation", "--version", "champion", "--json").stdout)
    stages = {name.partition("/")[0]: manifest for name, manifest in values["stages"].items()}
    for wanted in (
        "generation version 1 (champion)",
        f"corpus {version.test_split}: local_files",
        f"train.jsonl        SHA-256 {stages['corpus']['files']['train.jsonl']['sha256']}",
        f"tokenizer.json     SHA-256 {stages['tokenizer']['files']['tokenizer.json']['sha256']}",
        f"model.safetensors  SHA-256 {version.files['model.safetensors']}",
        f"{version.training_key}: ",
        f"torch {values['environment']['packages']['torch']}",
        "1 threads",
        version.run_id,
        "    context: 32",
    ):
        assert wanted in done.stdout
    assert Recipe.model_validate(values["recipe"]).training.context == 32
    assert values["environment"]["processor"] in done.stdout


def test_a_version_that_nightshift_did_not_train_has_no_lineage() -> None:
    client().create_model_version("generation", "file:///nowhere")
    newest = max(int(found.version) for found in client().search_model_versions("name = 'generation'"))
    done = nightshift("lineage", "generation", "--version", str(newest))
    assert done.exit_code == 2
    assert "no lineage.json was logged with it" in done.stderr


@pytest.mark.parametrize("reference", ["translation@", "a/b/c", "runs:/1/model", ""])
def test_a_reference_that_names_no_model_is_refused(reference: str) -> None:
    done = nightshift("reproduce", reference)
    assert done.exit_code == 2
    assert "names no model" in done.stderr or "there is no family" in done.stderr
