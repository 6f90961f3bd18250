"""An MLflow that is away for a while: what is asked again, what is not, and how long."""

from __future__ import annotations

import socket

import pytest
import requests
from away import Away
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE

from llm.errors import RegistryAwayError, RegistryError
from tasks.registry.connection import client
from tasks.registry.patience import impatient, is_away, patience, patient, patiently
from tasks.registry.runs import experiment_id, training_run
from tasks.registry.versions import champion


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_request_waits_for_a_server_that_is_away_and_tells_when_it_left_and_came(home, clock, caplog):
    away = Away(client(), {"search_experiments": 5})
    with patience(15, clock=clock, wait=clock.wait):
        assert [found.name for found in patient(away).search_experiments()] == ["Default"]
    assert clock.waits == [1, 2, 4, 8, 15]
    assert [record.getMessage() for record in caplog.records] == [
        "MLflow is away (Connection refused); waiting up to 15 minutes for it",
        "MLflow is back after 30 s",
    ]


def test_when_patience_is_over_there_is_one_error_that_says_so(home, clock, monkeypatch, caplog):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with patience(5, clock=clock, wait=clock.wait), pytest.raises(RegistryAwayError) as caught:
            champion("translation")
    assert caught.value.problem.startswith("MLflow has been away for 5 minutes: API request to http://127.0.0.1:")
    assert clock.now == 300
    told = [record.getMessage() for record in caplog.records if record.name.startswith("tasks")]
    assert told[1:] == [f"MLflow is still away, after {seconds} s" for seconds in (60, 120, 180, 240)]


def test_without_patience_a_request_fails_at_once(home):
    away = Away(client(), {"search_experiments": 1})
    with pytest.raises(requests.exceptions.ConnectionError):
        patient(away).search_experiments()
    assert away.asked == ["search_experiments"]


def test_in_a_hurry_a_patient_night_asks_once(home, clock):
    away = Away(client(), {"search_experiments": 1})
    with (
        patience(15, clock=clock, wait=clock.wait),
        impatient(timeout_s=5),
        pytest.raises(requests.exceptions.ConnectionError),
    ):
        patient(away).search_experiments()


def test_what_is_no_outage_is_not_repeated(home, clock):
    with patience(15, clock=clock, wait=clock.wait), pytest.raises(MlflowException, match="not found"):
        client().get_run("0" * 32)
    assert clock.waits == []


def test_what_each_repetition_would_double_is_asked_for_once_and_only_when_the_server_is_there(home, clock):
    away = Away(client(), {"create_run": 1, "search_experiments": 2})
    experiment = experiment_id(client(), "translation")
    with patience(15, clock=clock, wait=clock.wait), pytest.raises(requests.exceptions.ConnectionError):
        patient(away).create_run(experiment)
    assert away.asked == ["search_experiments"] * 3 + ["create_run"]


def test_a_run_whose_reply_was_lost_is_found_and_not_made_twice(home, identity, clock):
    with patience(15, clock=clock, wait=clock.wait), training_run(identity("k1")) as run:
        run._client = patient(Away(client(), {"create_run": 1}, carried_out=True))
        run.open()
    found = client().search_runs([experiment_id(client(), "translation")])
    assert [(one.info.run_id, one.info.status) for one in found] == [(run.run_id, "FINISHED")]


def test_a_night_whose_patience_is_over_is_not_held_up_by_the_closing_of_its_run(home, identity, clock):
    def night() -> None:
        with training_run(identity("k1")) as run:
            run.open()
            run._client = patient(Away(client(), {"set_tag": 999, "set_terminated": 1}))
            run.note("promoted")

    with patience(15, clock=clock, wait=clock.wait), pytest.raises(RegistryError, match="away for 15 minutes"):
        night()
    assert clock.now == 900


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError("refused"), True),
        (requests.exceptions.ReadTimeout("slow"), True),
        (requests.exceptions.RetryError("too many 503 error responses"), True),
        (requests.exceptions.RetryError("too many 500 error responses"), False),
        (MlflowException("database is locked", error_code=TEMPORARILY_UNAVAILABLE), True),
        (
            MlflowException("(sqlite3.OperationalError) database or disk is full", error_code=TEMPORARILY_UNAVAILABLE),
            False,
        ),
        (MlflowException("no such run"), False),
        (FileNotFoundError("no such file"), False),
    ],
)
def test_what_time_may_heal_is_told_from_what_it_does_not(error, away):
    assert is_away(error) is away


def test_a_function_that_meets_an_outage_is_repeated(clock):
    outcomes = iter([ConnectionError("away"), "there"])

    def ask() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with patience(1, clock=clock, wait=clock.wait):
        assert patiently(ask) == "there"
