"""Rows that the toy classifier can tell apart, and files of rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llm.batch_prediction.work import ModelName

MODEL = ModelName(family="classification", version="3", key="k3", reference="champion")


def fruit(count: int) -> list[dict[str, Any]]:
    """Texts of several lengths, and a column to carry through."""
    words = ("apple pear plum", "saw hammer drill wrench saw hammer", "grape")
    return [{"id": number, "text": f"{words[number % 3]} {number}"} for number in range(count)]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
