"""What a stage was made from: a walk over manifests, back to the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llm.files import read_json
from llm.stages import MANIFEST


def walk(keys: Iterable[str], *, root: Path) -> Iterator[dict[str, Any]]:
    """Manifests of the stages under `root` with these keys and of all that they were made from, nearest first, once.

    A stage whose folder is gone is passed over.
    """
    seen: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop(0)
        if key in seen:
            continue
        seen.add(key)
        for manifest in _manifests(root, key):
            yield manifest
            waiting.extend(manifest["inputs"].values())


def _manifests(root: Path, key: str) -> list[dict[str, Any]]:
    # Inputs that are no stages (an archive's SHA-256) are no folder names, and must not reach glob as a pattern.
    if not key.isalnum():
        return []
    return [read_json(path) for path in sorted(root.glob(f"*/{key}/{MANIFEST}"))]
