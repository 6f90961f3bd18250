"""A file that says what the nights do, checked in a process of its own: `up` lives long, and the presets import torch.

    python -P -m deployments.chosen_nights FILE

prints the parameter `config` of `nightly` as JSON, or `{"problem": ..., "remedy": ...}` with exit code 2.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from deployments.processes import ServerError
from llm.errors import ConfigError, NightshiftError

_REFUSED = 2


def chosen_nights(file: Path) -> dict[str, Any]:
    """The parameter `config` of `nightly`, as JSON values: see `flows.nights_file`.

    Raises ConfigError that names the file, the entry, the option, its value and the constraint.
    """
    command = [sys.executable, "-P", "-m", "deployments.chosen_nights", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, _REFUSED):
        raise ServerError(f"{file} could not be checked:\n{done.stderr[-1000:]}", remedy="report this as a bug")
    # Whatever a library says while it is imported comes before.
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if done.returncode == _REFUSED:
        raise ConfigError(found["problem"], remedy=found["remedy"])
    return found


def main(file: str) -> int:
    """Check `file` and print what came of it; returns the exit code."""
    from flows.nights_file import load_nights

    try:
        found = load_nights(Path(file)).model_dump(mode="json")
    except NightshiftError as error:
        print(json.dumps({"problem": error.problem, "remedy": error.remedy}))
        return _REFUSED
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
