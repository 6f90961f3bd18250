"""An evaluation's MLflow run says whose it is, is made once, and is closed whatever goes wrong."""

from __future__ import annotations

import socket

import pytest
from away import Away

from llm.errors import RegistryError
from llm.liveness import this_process
from tasks.registry.abandoned import close_abandoned_runs
from tasks.registry.connection import client
from tasks.registry.evaluations import EvaluationRun, log_evaluation
from tasks.registry.patience import patience, patient
from tasks.registry.runs import DatasetRecord

DATA = DatasetRecord(name="toy/test", digest="c0ffee", source="{}", context="evaluation")


@pytest.fixture
def log(bare_versions):
    """Logs an evaluation of a version that costs nothing."""
    [version] = bare_versions(1)

    def log_page(page: str = "# good") -> EvaluationRun:
        return log_evaluation(version, {"bleu": 21.5}, DATA, tags={"nightshift.flow_run_id": "f1"}, page=page)

    return log_page


def runs():
    experiment = client().get_experiment_by_name("translation").experiment_id
    return client().search_runs([experiment])


def away(monkeypatch, failures, *, carried_out=False) -> Away:
    made = Away(client(), failures, carried_out=carried_out)
    monkeypatch.setattr("tasks.registry.evaluations.client", lambda: patient(made))
    return made


def test_a_run_says_which_process_and_which_flow_run_wrote_it(log):
    found = client().get_run(log().run_id)
    assert (found.info.status, found.data.metrics) == ("FINISHED", {"evaluation/bleu": 21.5})
    tags = {name: found.data.tags[f"nightshift.{name}"] for name in ("host", "process", "flow_run_id")}
    assert tags == {"host": socket.gethostname(), "process": this_process(), "flow_run_id": "f1"}


def test_a_run_that_was_left_open_is_closed_when_its_process_is_gone(log):
    run_id = log().run_id
    client().update_run(run_id, status="RUNNING")
    assert close_abandoned_runs(["translation"]) == []
    client().set_tag(run_id, "nightshift.process", f"{2**22 + 1}/0.0")
    assert close_abandoned_runs(["translation"]) == [run_id]


def test_what_goes_wrong_closes_the_run_as_failed(log, monkeypatch):
    away(monkeypatch, {"log_batch": 1})
    with pytest.raises(RegistryError, match="Connection refused"):
        log()
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_a_run_that_cannot_be_closed_does_not_hide_what_went_wrong(log, monkeypatch, caplog):
    away(monkeypatch, {"set_terminated": 9})
    with pytest.raises(TypeError):
        log(page=None)
    assert any("failed while closing the run" in record.getMessage() for record in caplog.records)
    assert [run.info.status for run in runs()] == ["RUNNING"]


def test_a_run_whose_reply_was_lost_is_not_made_twice(log, monkeypatch):
    away(monkeypatch, {"create_run": 1}, carried_out=True)
    run_id = log().run_id
    assert [(run.info.run_id, run.info.status) for run in runs()] == [(run_id, "FINISHED")]


def test_an_mlflow_that_is_away_when_the_scoring_is_over_is_waited_for(log, monkeypatch):
    waits: list[float] = []
    made = away(monkeypatch, {"get_experiment_by_name": 2, "create_run": 1, "log_batch": 1, "set_terminated": 1})
    with patience(wait=waits.append):
        run_id = log().run_id
    assert made.failures == dict.fromkeys(made.failures, 0)
    assert waits == [1, 2, 1, 1]
    assert [(run.info.run_id, run.info.status) for run in runs()] == [(run_id, "FINISHED")]
