"""What is the same the second time, and what is said of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from llm.chain import corpus_plan_of
from llm.errors import ModelFolderError
from llm.recipe import Recipe
from llm.reproduction import changed_sources, compare_models, compare_stage, weight_differences
from llm.stages import Stage, StageSpec, run_stage


def stage_of(root: Path, content: str, *, version: int = 1) -> Stage:
    def build(folder: Path) -> dict[str, int]:
        (folder / "train.jsonl").write_text(content)
        return {}

    return run_stage(StageSpec(name="corpus", version=version, config={}, inputs={}), build, root=root)


def test_the_same_key_and_the_same_files_are_the_same(tmp_path: Path) -> None:
    one, two = (stage_of(tmp_path / name, "a") for name in ("one", "two"))
    line = compare_stage("corpus", one.manifest, two)
    assert line.same
    assert line.goes_on


def test_another_file_under_the_same_key_is_named_and_ends_the_comparison(tmp_path: Path) -> None:
    one, two = (stage_of(tmp_path / name, name) for name in ("one", "two"))
    line = compare_stage("corpus", one.manifest, two)
    assert line.then == line.now
    assert not line.same
    assert not line.goes_on
    assert line.notes[0].startswith("train.jsonl: SHA-256 was ")


def test_another_key_for_the_same_files_is_not_the_same_but_no_end(tmp_path: Path) -> None:
    one, two = stage_of(tmp_path, "a"), stage_of(tmp_path, "a", version=2)
    line = compare_stage("corpus", one.manifest, two)
    assert not line.same
    assert line.goes_on
    assert "another key, for the same files" in line.notes[0]


def test_a_manifest_without_its_files_cannot_be_the_same(tmp_path: Path) -> None:
    one = stage_of(tmp_path, "a")
    line = compare_stage("corpus", {"key": one.key}, one)
    assert (line.same, line.goes_on, line.notes) == (False, True, ("its files were not recorded",))


def model_folder(folder: Path, **tensors: torch.Tensor) -> Path:
    folder.mkdir()
    safetensors.torch.save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def test_weights_are_compared_tensor_by_tensor_the_largest_difference_first(tmp_path: Path) -> None:
    zeros = {name: torch.zeros(3) for name in "abc"}
    one = model_folder(tmp_path / "one", **zeros, d=torch.zeros(3), e=torch.zeros(1))
    changed = {"a": torch.tensor([0.0, -0.5, 0.25]), "b": torch.tensor([2.0, 0.0, 0.0])}
    other = model_folder(tmp_path / "other", **(zeros | changed), d=torch.zeros(4))
    assert weight_differences(one, other) == [("d", None), ("e", None), ("b", 2.0), ("a", 0.5)]
    assert weight_differences(one, one) == []


def test_of_models_that_differ_the_files_and_tensors_are_named(tmp_path: Path) -> None:
    one, other = (
        model_folder(tmp_path / name, a=torch.full((2,), value)) for name, value in {"x": 0.0, "y": 3.0}.items()
    )
    assert compare_models(one, one).same
    line = compare_models(one, other)
    assert line.then != line.now
    assert line.notes[0].startswith("model.safetensors: SHA-256 was ")
    assert line.notes[1:] == ("a: by up to 3",)


def test_the_same_weights_beside_another_configuration_are_not_the_same(tmp_path: Path) -> None:
    one, other = (model_folder(tmp_path / name, a=torch.zeros(2)) for name in "xy")
    (other / "config.json").write_text("{ }")
    line = compare_models(one, other)
    assert line.then == line.now
    assert not line.same
    assert line.notes[0].startswith("config.json: ")


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    one = model_folder(tmp_path / "one", a=torch.zeros(2))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFolderError, match=r"empty/model\.safetensors: no such file"):
        compare_models(one, tmp_path / "empty")


def test_sources_that_are_as_they_were_are_not_told_and_others_are(tmp_path: Path, toy_recipe: Recipe) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{name}", "label": "x"}}\n')
    recipe = toy_recipe.vary(corpus={"paths": [str(tmp_path / "*.jsonl")]})
    plan = corpus_plan_of(recipe, root=tmp_path / "stages")
    recorded = {part: spec.input_keys for part, spec in plan.shards.items()}
    assert changed_sources(recorded, plan) == []
    # Of a part whose manifest was gone there is nothing to say.
    assert changed_sources({part: {} for part in recorded}, plan) == []
    a, b, c = (str(tmp_path / f"{name}.jsonl") for name in "abc")
    found = changed_sources({a: {a: "c0ffee"}, c: {c: "c0ffee"}}, plan)
    assert found == [f"{a}: SHA-256 was c0ffee, is {recorded[a][a]}", f"{c}: is gone", f"{b}: is new"]
