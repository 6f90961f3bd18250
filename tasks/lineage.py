"""Where a stage came from, as it is kept with a version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm.lineage import walk
from llm.stages import Stage

LINEAGE_FILE = "lineage.json"
_KEPT = ("stage", "key", "version", "config", "inputs", "facts", "files", "seconds", "finished")


def lineage(stage: Stage, *, root: Path) -> dict[str, Any]:
    """Manifests of `stage` and of all that it was made from, by `<stage name>/<key>`, nearest first.

    An input whose folder is gone is left out; its key still stands in the manifest that names it.
    """
    manifests = walk([stage.key], root=root)
    return {f"{one['stage']}/{one['key']}": {field: one[field] for field in _KEPT} for one in manifests}
