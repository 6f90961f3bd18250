"""Checkpoints, stages and recipes that somebody else has made to harm."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from typing import Any

import safetensors.torch
import torch
from hostile_cases import Made, Payload, case

# Checkpoints and stages.


def save_state(made: Made, data: bytes, **state: Any) -> None:
    folder = made.given / "step-00000010"
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(data)
    values = {"progress": {"products": "float32", "step": 10}, "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "state.json").write_text(json.dumps(values | state))


@case("checkpoint", "state.safetensors", "CheckpointError")
def checkpoint_that_is_a_pickle(made: Made) -> None:
    save_state(made, pickle.dumps(Payload(made.canary)))


@case("checkpoint", "state.safetensors", "CheckpointError")
def checkpoint_without_weights(made: Made) -> None:
    save_state(made, safetensors.torch.save({"random_state": torch.zeros(8)}))


@case("checkpoint", "state.safetensors", "CheckpointError")
def checkpoint_that_was_changed(made: Made) -> None:
    save_state(made, b"other", sha256="0" * 64)


@case("checkpoint", "state.json", "CheckpointError")
def checkpoint_with_a_state_of_its_own(made: Made) -> None:
    save_state(made, b"", progress={"__class__": "os.system"})


def manifest(**changes: Any) -> str:
    whole = {"stage": "corpus", "key": "k1", "facts": {}, "files": {}}
    return json.dumps(whole | changes)


@case("stage", "manifest.json", "StageError")
def manifest_with_a_file_outside(made: Made) -> None:
    (made.given / "manifest.json").write_text(manifest(files={"../secret": {"bytes": 1, "sha256": "0"}}))


@case("stage", "manifest.json", "StageError")
def manifest_with_an_absolute_file(made: Made) -> None:
    (made.given / "manifest.json").write_text(manifest(files={"/etc/passwd": {"bytes": 1, "sha256": "0"}}))


@case("stage", "manifest.json", "StageError")
def manifest_that_is_no_manifest(made: Made) -> None:
    (made.given / "manifest.json").write_text('["corpus"]')


@case("stage", "rows.jsonl", "StageError")
def manifest_with_another_sum(made: Made) -> None:
    (made.given / "rows.jsonl").write_text("x")
    (made.given / "manifest.json").write_text(manifest(files={"rows.jsonl": {"bytes": 1, "sha256": "0"}}))


@case("stage", "rows.jsonl", "StageError")
def stage_file_that_is_a_pipe(made: Made) -> None:
    os.mkfifo(made.given / "rows.jsonl")
    (made.given / "manifest.json").write_text(manifest(files={"rows.jsonl": {"bytes": 0, "sha256": "0"}}))


@case("restored", "../../escaped", "StageError")
def kept_manifest_with_a_key_outside(made: Made) -> None:
    (made.given / "manifest.json").write_text(manifest(key="../../escaped"))


# Recipes.


@case("recipe", "recipe.yaml", "ConfigError")
def recipe_with_a_python_object(made: Made) -> None:
    text = f'!!python/object/apply:os.system ["touch {made.canary}"]\n'
    (made.given / "recipe.yaml").write_text(f"training: {text}")


@case("recipe", "recipe.yaml", "ConfigError")
def recipe_nested_too_deep(made: Made) -> None:
    (made.given / "recipe.yaml").write_text("[" * 100_000)


@case("recipe", "recipe.yaml", "ConfigError")
def recipe_of_aliases_of_aliases(made: Made) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (made.given / "recipe.yaml").write_text("\n".join(lines))
