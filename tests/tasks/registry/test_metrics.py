from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from llm.errors import RegistryError
from tasks.registry.connection import client
from tasks.registry.metrics import MetricBuffer
from tasks.registry.runs import experiment_id


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Flaky:
    """MLflow's client, whose server is away for the first requests."""

    def __init__(self, real: MlflowClient, *, failures: int, carried_out: bool = False) -> None:
        self.real = real
        self.failures = failures
        self.carried_out = carried_out  # it is the replies that are lost
        self.batches: list[int] = []

    def log_batch(self, run_id: str, metrics: list[Metric]) -> None:
        if self.failures:
            self.failures -= 1
            if self.carried_out:
                self.real.log_batch(run_id, metrics=metrics)
            raise ConnectionError("the server is away")
        self.batches.append(len(metrics))
        self.real.log_batch(run_id, metrics=metrics)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


@pytest.fixture
def run_id(home) -> str:
    return client().create_run(experiment_id(client(), "translation")).info.run_id


def steps(run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client().get_metric_history(run_id, name)]


def test_points_are_sent_together_when_enough_wait(run_id):
    watched = Flaky(client(), failures=0)
    buffer = MetricBuffer(watched, lambda: run_id, every_points=4, clock=Clock())
    for step in range(1, 4):
        buffer.report(step, {"loss": 1 / step, "rate": 0.5})
    assert watched.batches == [4]
    assert steps(run_id, "loss") == [(1, 1.0), (2, 0.5)]


def test_points_are_sent_when_they_have_waited_long_enough(run_id):
    clock = Clock()
    buffer = MetricBuffer(client(), lambda: run_id, every_points=100, every_seconds=5, clock=clock)
    buffer.report(1, {"loss": 2.0})
    assert steps(run_id, "loss") == []
    clock.now = 5.0
    buffer.report(2, {"loss": 1.0})
    assert steps(run_id, "loss") == [(1, 2.0), (2, 1.0)]


def test_what_waits_is_sent_at_the_end(run_id):
    with MetricBuffer(client(), lambda: run_id) as buffer:
        buffer.report(1, {"loss": 2.0})
    assert steps(run_id, "loss") == [(1, 2.0)]


def test_what_waits_is_sent_also_when_training_fails(run_id):
    def train() -> None:
        with MetricBuffer(client(), lambda: run_id) as buffer:
            buffer.report(1, {"loss": 2.0})
            buffer.report(2, {"loss": 0.5})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert steps(run_id, "loss") == [(1, 2.0), (2, 0.5)]


def test_a_server_that_is_away_for_a_while_loses_no_point_and_stops_no_training(run_id, caplog):
    watched, clock = Flaky(client(), failures=2), Clock()
    with MetricBuffer(watched, lambda: run_id, every_points=1, clock=clock) as buffer:
        for step in range(1, 60):
            clock.now = float(step)
            buffer.report(step, {"loss": float(step)})
    assert steps(run_id, "loss") == [(step, float(step)) for step in range(1, 60)]
    # Asked at 1, 11 and 31 s: what waited goes at once.
    assert watched.batches == [31, *[1] * 28]
    assert [record.getMessage().split(" metrics")[0] for record in caplog.records] == [
        "MLflow does not take",
        "MLflow is back and has taken the 31",
    ]


def test_what_a_killed_training_could_not_deliver_is_delivered_by_the_next_one_at_its_time_and_once(run_id, tmp_path):
    spool = tmp_path / "spool" / "k1.jsonl"
    killed = MetricBuffer(Flaky(client(), failures=99), lambda: run_id, spool=spool, every_points=2, clock=Clock())
    for step in (10, 20, 30):
        killed.report(step, {"loss": float(step)})
    with spool.open("a") as file:
        file.write('["loss", 4')  # it was killed here
    reported = [json.loads(line)[2] for line in spool.read_text().splitlines() if line.endswith("]")]
    with MetricBuffer(client(), lambda: run_id, spool=spool) as buffer:
        for step in (20, 30, 40):  # the last checkpoint was at step 10
            buffer.report(step, {"loss": -1.0 if step < 40 else 40.0})
    assert steps(run_id, "loss") == [(10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)]
    assert [point.timestamp for point in client().get_metric_history(run_id, "loss")][:3] == reported
    assert not spool.exists()


def test_a_batch_whose_reply_was_lost_is_there_once(run_id):
    watched, clock = Flaky(client(), failures=1, carried_out=True), Clock()
    with MetricBuffer(watched, lambda: run_id, every_points=2, clock=clock) as buffer:
        for step in range(1, 5):
            buffer.report(step, {"loss": float(step)})
    assert steps(run_id, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_a_training_that_ends_before_mlflow_is_back_leaves_its_points_to_the_next_run(run_id, tmp_path):
    spool = tmp_path / "k1.jsonl"
    buffer = MetricBuffer(Flaky(client(), failures=1), lambda: run_id, spool=spool)
    with pytest.raises(RegistryError, match="the server is away"), buffer:
        buffer.report(1, {"loss": 2.0})
    with MetricBuffer(client(), lambda: run_id, spool=spool):
        pass
    assert steps(run_id, "loss") == [(1, 2.0)]


def test_a_spool_that_cannot_be_written_stops_no_training(run_id, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with MetricBuffer(client(), lambda: run_id, spool=tmp_path / "file" / "k1.jsonl") as buffer:
        for step in (1, 2):
            buffer.report(step, {"loss": 2.0})
    assert [step for step, _ in steps(run_id, "loss")] == [1, 2]
    assert len(caplog.records) == 1


def test_steps_that_a_resumed_training_repeats_are_logged_once(run_id):
    with MetricBuffer(client(), lambda: run_id) as buffer:
        for step in (10, 20, 30):
            buffer.report(step, {"loss": float(step)})
    with MetricBuffer(client(), lambda: run_id) as buffer:
        for step in (20, 30, 40):  # the last checkpoint was at step 10
            buffer.report(step, {"loss": float(step), "validation_loss": 1.0})
    assert steps(run_id, "loss") == [(10, 10.0), (20, 20.0), (30, 30.0), (40, 40.0)]
    assert [step for step, _ in steps(run_id, "validation_loss")] == [20, 30, 40]


# What a training tells that went back from step 30 to 10, and that once more: (step, loss, roll-backs).
WENT_BACK = [(10, 1.0, 0), (20, 9.0, 0), (30, 99.0, 0), (20, 0.9, 1), (30, 0.8, 1), (20, 0.7, 2), (40, 0.6, 2)]


def tell(buffer: MetricBuffer, points: list[tuple[int, float, int]]) -> None:
    for step, loss, rollbacks in points:
        buffer.report(step, ({"rollbacks": float(rollbacks)} if rollbacks else {}) | {"loss": loss})


def test_the_steps_that_are_trained_again_after_a_roll_back_are_there_beside_what_was_gone_back_from(run_id):
    with MetricBuffer(client(), lambda: run_id) as buffer:
        tell(buffer, WENT_BACK)
    assert sorted(steps(run_id, "loss")) == sorted((step, loss) for step, loss, _ in WENT_BACK)
    when = [point.timestamp for point in client().get_metric_history(run_id, "rollbacks") if point.value == 1.0]
    before = [point.timestamp for point in client().get_metric_history(run_id, "loss") if point.value >= 1.0]
    assert max(before) < min(when)


@pytest.mark.parametrize("delivered", [True, False], ids=["delivered", "spooled"])
@pytest.mark.parametrize("checkpoint", [0, 1, 3, 4])
@pytest.mark.parametrize("killed_after", range(1, 8))
def test_a_training_that_went_back_and_was_killed_delivers_each_point_once(
    run_id, tmp_path, killed_after, checkpoint, delivered
):
    spool = tmp_path / "k1.jsonl"
    failures = 0 if delivered else 99
    killed = MetricBuffer(Flaky(client(), failures=failures), lambda: run_id, spool=spool, every_points=1)
    tell(killed, WENT_BACK[:killed_after])
    if delivered:
        spool.unlink()  # all that it knows is what MLflow tells
    with MetricBuffer(client(), lambda: run_id, spool=spool) as buffer:
        tell(buffer, WENT_BACK[min(checkpoint, killed_after) :])
    assert sorted(steps(run_id, "loss")) == sorted((step, loss) for step, loss, _ in WENT_BACK)


def test_what_an_older_version_left_in_the_spool_is_delivered(run_id, tmp_path):
    spool = tmp_path / "k1.jsonl"
    spool.write_text('["loss", 2.0, 1000, 10]\n')
    with MetricBuffer(client(), lambda: run_id, spool=spool) as buffer:
        tell(buffer, [(10, -1.0, 0), (20, 1.0, 0)])
    assert steps(run_id, "loss") == [(10, 2.0), (20, 1.0)]


def test_more_points_than_one_request_may_hold_are_divided(run_id):
    watched = Flaky(client(), failures=0)
    with MetricBuffer(watched, lambda: run_id, every_points=10_000, clock=Clock()) as buffer:
        for step in range(1500):
            buffer.report(step, {"loss": 0.0})
    assert watched.batches == [1000, 500]


def test_a_training_that_reports_nothing_opens_no_run(home):
    def open_run() -> str:
        raise AssertionError("opened")

    with MetricBuffer(client(), open_run):
        pass
