"""A real MLflow server that is killed while a training reports, and comes back after its end."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from rest import free_port, poll

from deployments.environment import answers
from deployments.servers import Ports, mlflow_server, server_environment
from tasks.registry.connection import client
from tasks.registry.patience import patience
from tasks.registry.runs import TrainingIdentity, training_run

pytestmark = [pytest.mark.slow, pytest.mark.chaos]


def test_a_server_that_dies_during_a_training_gets_every_point_once_when_it_is_back(
    nightshift_home: Path, migrated_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nightshift_home / "mlflow").mkdir(parents=True)
    shutil.copy(migrated_database, nightshift_home / "mlflow" / "mlflow.db")
    ports = Ports(prefect=0, mlflow=free_port())
    environment = server_environment(os.environ, ports)
    server = mlflow_server(ports, environment)
    try:
        poll(lambda: answers(f"{ports.mlflow_url}/health"))
        with patience(3), training_run(TrainingIdentity("translation", "k1", {}, datasets=(), tags={})) as run:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", ports.mlflow_url)
            run._client = client()
            with run.metrics() as metrics:
                for step in range(1, 601):
                    if step == 300:
                        os.killpg(server.pid, signal.SIGKILL)
                    metrics.report(step, {"loss": 1 / step})
                spooled = (nightshift_home / "spool" / "k1.jsonl").read_text().split("\n")
                monkeypatch.delenv("MLFLOW_TRACKING_URI")
                server.stop()
                server = mlflow_server(ports, environment, again=True)
                monkeypatch.setenv("MLFLOW_TRACKING_URI", ports.mlflow_url)
        found = client().get_metric_history(run.run_id, "loss")
    finally:
        server.stop()
    assert len([line for line in spooled if line]) == 600
    assert [(point.step, point.value) for point in found] == [(step, 1 / step) for step in range(1, 601)]
    assert list((nightshift_home / "spool").iterdir()) == []
