"""The one place that sets environment defaults for Prefect and MLflow; a variable that the user has set always wins.

Both read their settings when they are imported, so `prepare()` is called first, by the command line. Nothing here runs
at import: code that uses `llm`, `tasks` or `flows` as a library is left alone.
"""

from __future__ import annotations

import json
import os
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any

from deployments.access import folder_in, read_access
from llm.errors import StageError
from llm.home import HOME_VARIABLE, home

SERVERS_FILE = "servers.json"
HEARTBEAT_VARIABLE = "PREFECT_FLOWS_HEARTBEAT_FREQUENCY"
_PROBE_TIMEOUT_S = 2.0


def prepare(*, find_servers: bool = True) -> None:
    """Set the defaults and, with `find_servers`, use the servers of `nightshift up` where they answer.

    Raises StageError when Nightshift's home cannot be made.
    """
    # Absolute from here on: flow runs and evaluations are processes that start in other folders.
    folder = home()
    os.environ[HOME_VARIABLE] = str(folder)
    try:
        # Prefect only warns about a home that it cannot make, and then fails at its database.
        (folder / "prefect").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StageError(
            f"{folder}: cannot be created ({error.strerror})",
            remedy=f"set {HOME_VARIABLE} to a folder that you may write to",
        ) from None
    for name, value in defaults(folder).items():
        os.environ.setdefault(name, value)
    if find_servers:
        for name, value in running_servers(folder).items():
            os.environ.setdefault(name, value)


def defaults(folder: Path) -> dict[str, str]:
    """Environment variables by name; `folder` is Nightshift's home."""
    return {
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # No pickle is read, even from a registry that somebody else filled.
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        # Five bars for five small files; waits have bars of our own.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # Its notes on databases and input examples come in a format of their own, into the middle of the story.
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        # The report has the link to the run; standard output is for what was asked for.
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # Without this, MLflow warns at length on a machine that has no git.
        "GIT_PYTHON_REFRESH": "quiet",
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_SETTINGS_PATH": str(Path(__file__).with_name("logging.yaml")),
        # Our loggers also speak outside of flow runs, where there is no run to attach a line to.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # Results hold paths and numbers only; the default would pickle them.
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        # With the default of 180 s a run whose runner died counts as running for nine minutes.
        HEARTBEAT_VARIABLE: "30",
        # Each wait doubles: a server that is away for 5 minutes is found again, with 17 minutes in all. The default
        # gives up after one.
        "PREFECT_CLIENT_MAX_RETRIES": "9",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        "TOKENIZERS_PARALLELISM": "false",
    }


def running_servers(folder: Path) -> dict[str, str]:
    """The variables that point at the servers of `nightshift up`, and let us in; none where no servers run.

    A server that does not answer is left out: its file may be left over from a machine that lost power. No password is
    given for a server of the user's own choice.
    """
    try:
        servers: dict[str, Any] = json.loads((folder / SERVERS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = {}
    if answers(f"{servers.get('prefect')}/api/health"):
        found["PREFECT_API_URL"] = f"{servers['prefect']}/api"
    if answers(f"{servers.get('mlflow')}/health"):
        found["MLFLOW_TRACKING_URI"] = servers["mlflow"]
    if not found or not servers.get("access"):
        return found
    access = read_access(folder_in(folder))
    secrets = {"PREFECT_API_URL": access.for_prefect(), "MLFLOW_TRACKING_URI": access.for_mlflow()}
    ours = [name for name, address in found.items() if os.environ.get(name, address) == address]
    for name in ours:
        found |= secrets[name]
    return found


def answers(url: str, *, timeout: float = _PROBE_TIMEOUT_S) -> bool:
    """True when a GET of this http(s) address ends in status 200 within `timeout` seconds."""
    if not url.startswith(("http://", "https://")):
        return False
    try:
        # The scheme is checked above.
        with urllib.request.urlopen(url, timeout=timeout) as reply:  # noqa: S310
            return bool(reply.status == 200)
    except (OSError, HTTPException):  # away, or gone in the middle of its reply
        return False
