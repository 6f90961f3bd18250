"""A flow that needs to be let in by both servers."""

from __future__ import annotations

from prefect import flow

from tasks.registry.connection import client


@flow
def ask_both() -> int:
    mlflow = client()
    mlflow.create_run(mlflow.create_experiment("asked"))
    return 1
