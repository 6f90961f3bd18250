"""What a home's registry holds, as one JSON line; run as a process of its own, in the home's environment.

    python -m benchmarks.chaos.registry

It loads every champion as a user would and lets it answer: a champion that does not is told in `unloadable`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from llm.files import sha256_of
from llm.model.config import WEIGHTS_FILE

TEXT = "house river stone 7"


def look(*families: str, files: bool = True) -> dict[str, Any]:
    """Versions, aliases, runs and logged models of families (by default all), and whether a champion answers.

    With `files`, the files of every version are compared with what was registered.
    """
    # Imported here: both read the environment that the home was given.
    from llm.families import FAMILIES
    from tasks.registry.connection import client

    found = client()
    return {family: _family(found, family, files=files) for family in families or FAMILIES}


def _family(mlflow_client: Any, family: str, *, files: bool) -> dict[str, Any]:
    from tasks.registry.runs import TRAINING_KEY

    experiment = mlflow_client.get_experiment_by_name(family)
    runs = mlflow_client.search_runs([experiment.experiment_id]) if experiment else []
    models = mlflow_client.search_logged_models([experiment.experiment_id]) if experiment else []
    registered = mlflow_client.search_registered_models(f"name = '{family}'")
    versions = mlflow_client.search_model_versions(f"name = '{family}'")
    aliases = dict(registered[0].aliases) if registered else {}
    return {
        "versions": {
            version.version: {
                "key": version.tags.get(TRAINING_KEY),
                "status": version.status,
                "decision": version.tags.get("nightshift.decision"),
                "damage": _damage(family, int(version.version)) if files else "",
                "weights": json.loads(version.tags["nightshift.files"]).get(WEIGHTS_FILE),
            }
            for version in versions
        },
        "aliases": aliases,
        "runs": sorted([run.data.tags.get(TRAINING_KEY, ""), run.info.status] for run in runs),
        "logged_models": sorted(str(model.status).rpartition(".")[2] for model in models),
        "unloadable": _load(family) if "champion" in aliases else "",
    }


def _damage(family: str, number: int) -> str:
    """What is wrong with the files of a version; nothing: empty."""
    import tempfile

    from llm.errors import NightshiftError
    from tasks.registry.connection import client
    from tasks.registry.folders import download_logged_model
    from tasks.registry.versions import get_version

    with tempfile.TemporaryDirectory() as folder:
        try:
            download_logged_model(get_version(client(), family, number), Path(folder))
        except NightshiftError as error:
            return error.problem
    return ""


def _load(family: str) -> str:
    """Why the champion does not answer; empty when it does."""
    import mlflow.pyfunc

    try:
        answers = mlflow.pyfunc.load_model(f"models:/{family}@champion").predict([TEXT])
    except Exception as error:  # whatever keeps a user from the champion
        return f"{type(error).__name__}: {error}"
    return "" if len(answers) == 1 else f"{len(answers)} answers to one text"


def weights(stages: Path) -> dict[str, str]:
    """SHA-256 of the weights of every finished training below `stages`, by family and seed."""
    found = {}
    for manifest in (stages / "training").glob("*/manifest.json"):
        config = json.loads(manifest.read_text(encoding="utf-8"))["config"]
        found[f"{config['family']}/{config['training']['seed']}"] = sha256_of(manifest.parent / "model" / WEIGHTS_FILE)
    return found


if __name__ == "__main__":
    json.dump(look(), sys.stdout)
