"""Secrets that a run finds in its environment, and a search for them in everything that the run has left."""

from __future__ import annotations

import gzip
import json
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from rest import fetch

# Each of its own, so that a finding says where it came from; nothing that has to be escaped in JSON or an address.
TOKENS = {
    name: f"PLANTED{number}x7Qz9vLm4Wk" for number, name in enumerate(("hf", "aws", "sql", "hook", "mlflow", "sig"))
}
ENVIRONMENT = {
    "HF_TOKEN": TOKENS["hf"],
    "AWS_SECRET_ACCESS_KEY": TOKENS["aws"],
    "NIGHTSHIFT_SQL_URL": f"postgresql://reader:{TOKENS['sql']}@127.0.0.1:9/tickets?sslpassword={TOKENS['sql']}",
    "NIGHTSHIFT_WEBHOOK": f"https://hooks.example.org/{TOKENS['hook']}",
    "MLFLOW_TRACKING_PASSWORD": TOKENS["mlflow"],
}
# What the API of Prefect lists.
_PREFECT = (
    "flows",
    "flow_runs",
    "task_runs",
    "logs",
    "artifacts",
    "deployments",
    "work_pools",
    "automations",
    "variables",
    "block_documents",
    "block_types",
    "block_schemas",
    "v2/concurrency_limits",
)
SIGNED_ADDRESS = f"https://reader:{TOKENS['sig']}@localhost:9/rows.jsonl?X-Amz-Signature={TOKENS['sig']}"


def found_in(text: str | bytes) -> list[str]:
    """Names of the secrets that a text holds."""
    data = text.encode() if isinstance(text, str) else text
    return [name for name, token in TOKENS.items() if token.encode() in data]


def found_under(folder: Path) -> dict[str, list[str]]:
    """Names of the secrets that files hold, by file: as they are, decompressed, and row by row for a database."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (names := sorted({name for data in _contents(path) for name in found_in(data)})):
            found[str(path)] = names
        if names := found_in(str(path.relative_to(folder))):
            found[f"the name {path}"] = names
    return found


def found_in_pages(prefect: str, mlflow: str) -> dict[str, list[str]]:
    """Names of the secrets that the servers answer with, by address: all that their pages are made of."""
    api = f"{prefect}/api"
    asked: dict[str, Any] = {f"{api}/{kind}/filter": {} for kind in _PREFECT} | {
        f"{api}/admin/settings": None,
        f"{api}/events/filter": {"limit": 50},
        f"{prefect}/ui-settings": None,
        f"{mlflow}/ajax-api/2.0/mlflow/experiments/search": {"max_results": 100},
        f"{mlflow}/ajax-api/2.0/mlflow/registered-models/search?max_results=100": None,
        f"{mlflow}/ajax-api/2.0/mlflow/model-versions/search?max_results=100": None,
    }
    answers = {address: fetch(address, body) for address, body in asked.items()}
    experiments = [
        one["experiment_id"] for one in answers[f"{mlflow}/ajax-api/2.0/mlflow/experiments/search"]["experiments"]
    ]
    runs = f"{mlflow}/ajax-api/2.0/mlflow/runs/search"
    answers[runs] = fetch(runs, {"experiment_ids": experiments, "max_results": 1000})
    shown = {address: found_in(json.dumps(answer)) for address, answer in answers.items()}
    return {address: names for address, names in shown.items() if names}


def _contents(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if data.startswith(b"\x1f\x8b"):
        yield gzip.decompress(data)
    elif data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())
    elif data.startswith(b"SQLite format 3\0"):
        # A long text lies in several pages, and not in one piece.
        with closing(sqlite3.connect(path)) as connection:
            yield from (line.encode() for line in connection.iterdump())
