"""Where Nightshift keeps things on this machine: one folder, named by one environment variable."""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "NIGHTSHIFT_HOME"
_DEFAULT = ".nightshift"


def home() -> Path:
    """The folder that holds downloads, stages, the MLflow store and the Prefect database; it need not exist yet."""
    return Path(os.environ.get(HOME_VARIABLE) or _DEFAULT).resolve()


def downloads_folder() -> Path:
    """Downloaded archives, each under its own file name, verified by SHA-256."""
    return home() / "downloads"


def stages_folder() -> Path:
    """Root of the content-addressed stage folders."""
    return home() / "stages"


def scratch_folder() -> Path:
    """Where temporary folders are made: what a killed process leaves here is found again, unlike in /tmp."""
    return home() / "scratch"


def reports_folder() -> Path:
    """Pages for people, the newest of each kind."""
    return home() / "reports"
