"""The night that is disturbed: all three families, tiny, on rows that are made here; one thread, float32."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.configuration import NightlyConfig, RetrainConfig
from llm.families import FAMILIES, load_family

_WORDS = ["house", "river", "stone", "cloud", "bridge", "garden", "window", "morning"]
_ROWS = 120
_TRAINING = {"steps": 40, "validate_every": 4, "context": 32, "threads": 1, "precision": "float32", "device": "cpu"}


def _sentence(number: int) -> str:
    return " ".join(_WORDS[(number * step + step) % len(_WORDS)] for step in (1, 3, 5)) + f" {number}"


def _row(fields: tuple[str, ...], number: int) -> dict[str, str]:
    """A text to go on from, or a text and its translation into capitals, or a text and whether its number is even."""
    if fields == ("text",):
        return {"text": "\n".join(_sentence(number + line) for line in range(12))}
    if "label" in fields:
        return {"text": _sentence(number), "label": "odd" if number % 2 else "even"}
    return {"source": _sentence(number), "target": _sentence(number).upper()}


def family_config(name: str, folder: Path, *, seed: int = 1) -> RetrainConfig:
    """The smoke preset of a family on rows that are written below `folder`."""
    family = load_family(name)
    data = folder / f"{name}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    fields = tuple(family.fields)
    lines = [json.dumps(_row(fields, number)) for number in range(_ROWS)]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    values: dict[str, Any] = family.presets()["smoke"].model_dump(mode="json")
    columns = {field: field for field in fields}
    values["corpus"] = {"source": "local_files", "format": "jsonl", "paths": [str(data)], "columns": columns}
    values["splits"] = {"validation": 0.2, "test": 0.2, "salt": "chaos"}
    values["training"] |= _TRAINING | {"seed": seed}
    return RetrainConfig.model_validate(values)


def night(folder: Path, families: Sequence[str] = tuple(FAMILIES)) -> NightlyConfig:
    """One retraining of each family."""
    return NightlyConfig(families=[family_config(name, folder) for name in families])
