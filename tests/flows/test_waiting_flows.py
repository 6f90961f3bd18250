"""Flows wait for an MLflow that is away for a moment, as a night does: a real client, and a server that comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import QuietHandler, answering
from prefect import Flow

from flows.batch_predict import BatchPredictConfig, batch_predict
from flows.evaluate_version import EvaluateVersionConfig, evaluate_version
from flows.promote import PromoteConfig, promote
from flows.rollback import RollbackConfig, rollback
from llm.config import Config
from llm.errors import RegistryError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The statuses of an MLflow that is away for the first request, and after that knows of nothing."""
    sent: list[int] = []

    class Handler(QuietHandler):
        def do_GET(self) -> None:  # noqa: N802  (the name that http.server looks for)
            sent.append(404 if sent else 503)
            self.answer(sent[-1], b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}')

    # Of its own, MLflow's client would ask again in silence.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(Handler) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield sent


def configuration(kind: type[Config], folder: Path) -> Config:
    values = {"family": "translation", "version": "1", "why": "x", "input": str(folder), "output": str(folder / "out")}
    return kind.model_validate({name: value for name, value in values.items() if name in kind.model_fields})


@pytest.mark.parametrize(
    ("flow", "kind"),
    [
        (evaluate_version, EvaluateVersionConfig),
        (promote, PromoteConfig),
        (rollback, RollbackConfig),
        (batch_predict, BatchPredictConfig),
    ],
    ids=["evaluate", "promote", "rollback", "batch-predict"],
)
def test_a_flow_asks_again_when_mlflow_is_back(
    flow: Flow[..., object], kind: type[Config], answers: list[int], tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"no version '1'|no champion|not found"):
        flow(configuration(kind, tmp_path))
    assert answers[:2] == [503, 404]
