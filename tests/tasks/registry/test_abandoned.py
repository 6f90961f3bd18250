"""Which MLflow runs are taken for abandoned, and that no living process loses its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from filelock import Timeout
from mlflow import MlflowClient

from llm.liveness import this_process
from tasks.registry.abandoned import close_abandoned_runs, close_runs_of, taking_over
from tasks.registry.connection import client, lock
from tasks.registry.runs import training_run

NOBODY = f"{2**22 + 1}/0.0"  # larger than any process id that Linux gives out


@pytest.fixture
def opened(home, identity):
    """Opens the run of a training, as a process that is killed does; gives its id."""

    def open_run(key: str, *, process: str | None = None, host: str | None = None) -> str:
        run_id = training_run(identity(key)).__enter__().open()
        for name, value in (("process", process), ("host", host)):
            if value is not None:
                client().set_tag(run_id, f"nightshift.{name}", value)
        return run_id

    return open_run


def status(run_id: str) -> str:
    return client().get_run(run_id).info.status


def test_runs_of_processes_that_are_gone_are_closed_and_living_ones_left_alone(opened):
    gone, living = opened("k1", process=NOBODY), opened("k2")
    # The second training of the family has cleaned up.
    assert close_abandoned_runs(["translation"]) == []
    assert [status(run) for run in (gone, living)] == ["FAILED", "RUNNING"]


def test_all_families_are_looked_through_and_those_without_an_experiment_passed_over(opened):
    gone = opened("k1", process=NOBODY)
    assert close_abandoned_runs(["generation", "translation"]) == [gone]
    assert close_abandoned_runs(["generation"]) == []


def test_a_process_id_that_was_given_out_again_is_another_process(opened):
    run_id = opened("k1", process=f"{os.getpid()}/1000.0")
    assert close_abandoned_runs(["translation"]) == [run_id]


def test_a_run_of_another_host_is_left_alone_for_it_may_live_there(opened):
    run_id = opened("k1", process=NOBODY, host="elsewhere")
    assert close_abandoned_runs(["translation"]) == []
    assert status(run_id) == "RUNNING"


def test_a_run_that_says_whose_it_is_from_its_first_moment_on_is_closed_though_it_was_never_described(opened):
    # As MLflow has it when a process is killed between the two requests.
    tags = client().get_run(opened("k1")).data.tags
    made = client().search_experiments(filter_string="name = 'translation'")[0].experiment_id
    own = {name: tags[name] for name in ("nightshift.host", "nightshift.training_key")}
    run_id = client().create_run(made, tags=own | {"nightshift.process": NOBODY}).info.run_id
    assert close_abandoned_runs(["translation"]) == [run_id]


def test_a_run_that_is_taken_over_after_it_was_found_is_not_closed_as_that_of_its_last_owner(opened, monkeypatch):
    run_id = opened("k1", process=NOBODY)
    found, closed = threading.Event(), []
    monkeypatch.setattr("tasks.registry.abandoned.client", lambda: Telling(client(), found))
    closing = threading.Thread(target=lambda: closed.extend(close_abandoned_runs(["translation"])))
    with lock("owners-of-runs"):
        closing.start()
        assert found.wait(120)
        client().set_tag(run_id, "nightshift.process", this_process())
    closing.join()
    assert (closed, status(run_id)) == ([], "RUNNING")


class Telling:
    """MLflow's client, which tells when runs were found."""

    def __init__(self, real: MlflowClient, found: threading.Event) -> None:
        self.real, self.found = real, found

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def search_runs(self, *args: object) -> object:
        runs = self.real.search_runs(*args)
        self.found.set()
        return runs


def test_a_training_that_goes_on_with_a_run_keeps_others_from_closing_it_meanwhile(opened, identity):
    run_id = opened("k1", process=NOBODY)
    with taking_over(client(), run_id):
        assert client().get_run(run_id).data.tags["nightshift.process"] == this_process()
        with pytest.raises(Timeout):
            lock("owners-of-runs").acquire(timeout=0)
    close_runs_of("nightshift.training_key", "k1", families=["translation"])
    client().set_tag(run_id, "nightshift.process", NOBODY)
    training_run(identity("k1")).__enter__().open()
    assert close_abandoned_runs(["translation"]) == []


def test_the_runs_of_a_crashed_flow_run_are_closed_and_no_others(opened):
    crashed, living = opened("k1"), opened("k2")
    families = ("generation", "translation")  # the first has no experiment yet
    assert close_runs_of("nightshift.flow_run_id", "flow-of-k1", families=families) == [crashed]
    assert status(living) == "RUNNING"


def close_in_a_process(**variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "tasks.registry.abandoned"]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=120, check=False)


def test_as_a_command_it_says_how_many_it_closed_and_nothing_where_there_are_none(opened):
    gone = opened("k1", process=NOBODY)
    done = close_in_a_process()
    told = "MLflow runs whose process is gone, closed as failed: 1\n"
    assert (done.returncode, done.stdout, status(gone)) == (0, told, "FAILED"), done.stderr
    assert (close_in_a_process().stdout, status(gone)) == ("", "FAILED")


def test_as_a_command_it_fails_in_one_line_where_mlflow_is_away(home):
    done = close_in_a_process(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("MLflow at http://127.0.0.1:9 failed while closing the runs of processes that are gone")


def test_it_imports_neither_torch_nor_prefect():
    code = "import sys, tasks.registry.abandoned; print({'torch', 'prefect', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
