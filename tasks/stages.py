"""What the tasks say about a stage, on the run's page and in a flow's result."""

from __future__ import annotations

from typing import Any

from prefect.logging import get_run_logger

from llm.home import stages_folder
from llm.stages import MANIFEST, Stage, StageSpec


def log_stage(stage: Stage, outcome: str) -> None:
    """One line: what came out, reused or built, in how many seconds."""
    get_run_logger().info("%s: %s (%s)", stage.name, outcome, how(stage))


def how(stage: Stage) -> str:
    """`reused 1a2b` or `built in 3.4 s as 1a2b`."""
    if stage.reused:
        return f"reused {stage.key}"
    return f"built in {stage.manifest['seconds']:.1f} s as {stage.key}"


def summary(stage: Stage) -> dict[str, Any]:
    """A stage in a flow's result; `seconds` is what this run spent on it."""
    return {
        "name": stage.name,
        "key": stage.key,
        "reused": stage.reused,
        "seconds": 0.0 if stage.reused else stage.manifest["seconds"],
    }


def is_built(spec: StageSpec) -> bool:
    """True when the stage's folder is there, so that running it costs nothing."""
    return (stages_folder() / spec.name / spec.key / MANIFEST).exists()
