"""What the Prefect server reads from the environment that it gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from deployments.addresses import seldom

# All settings by the names of their variables, durations in seconds.
SETTINGS = """
import json
from datetime import timedelta
from prefect.settings import get_current_settings

def flat(values, path):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}_{name}")
        else:
            yield f"{path}_{name}".upper(), value.total_seconds() if isinstance(value, timedelta) else value

found = dict(flat(get_current_settings().model_dump(), "PREFECT"))
print(json.dumps({name: value for name, value in found.items() if isinstance(value, (int, float))}))
"""


def settings(variables: dict[str, str]) -> dict[str, float]:
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_SERVER")}
    command = [sys.executable, "-c", SETTINGS]
    done = subprocess.run(command, env=surroundings | variables, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_prefect_knows_every_variable_that_makes_it_look_seldom_and_looks_more_often_without() -> None:
    named = {name: 60.0 if value == "PT60S" else float(value) for name, value in seldom().items()}
    without, found = settings({}), settings(seldom())
    assert {name: found[name] for name in named} == named
    assert all(without[name] < seconds for name, seconds in named.items())
