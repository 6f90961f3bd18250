"""A terminal with a home of its own, for tests that run `nightshift` from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from llm.recipe import Recipe

TIMEOUT_S = 900


class Terminal:
    """Runs `nightshift` in a home of its own, from a working directory of its own."""

    def __init__(self, home: Path, recipe: Recipe) -> None:
        home.mkdir()
        self.home = home
        self.folder = home.parent
        self.config = home / "toy.yaml"
        self.config.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
        outside = ("PREFECT_", "MLFLOW_", "NIGHTSHIFT_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
        self.environment = kept | {"NIGHTSHIFT_HOME": str(home)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "deployments.cli", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # As in a terminal, where Ctrl-C reaches the whole process group.
            process_group=0,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output, errors

    def train(self, *options: str) -> tuple[int, str, str]:
        return self.run("run", "classification", "--preset", "smoke", "--config", str(self.config), *options)
