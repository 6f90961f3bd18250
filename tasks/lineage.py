"""Where a stage came from: a walk over manifests, back to the corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm.files import read_json
from llm.stages import MANIFEST, Stage

LINEAGE_FILE = "lineage.json"
_KEPT = ("stage", "key", "version", "config", "inputs", "facts", "files", "seconds", "finished")


def lineage(stage: Stage, *, root: Path) -> dict[str, Any]:
    """Manifests of `stage` and of all that it was made from, by `<stage name>/<key>`, nearest first.

    An input whose folder is gone is left out; its key still stands in the manifest that names it.
    """
    found: dict[str, Any] = {}
    waiting = [stage.manifest]
    while waiting:
        manifest = waiting.pop(0)
        name = f"{manifest['stage']}/{manifest['key']}"
        if name in found:
            continue
        found[name] = {field: manifest[field] for field in _KEPT}
        for key in manifest["inputs"].values():
            waiting.extend(_manifests(root, key))
    return found


def _manifests(root: Path, key: str) -> list[dict[str, Any]]:
    # Inputs that are no stages (an archive's SHA-256) are no folder names, and must not reach glob as a pattern.
    if not key.isalnum():
        return []
    return [read_json(path) for path in sorted(root.glob(f"*/{key}/{MANIFEST}"))]
