"""Progress on a page: what it says, that training never waits for it, and that no failure of it reaches training."""

from __future__ import annotations

import logging
import threading

import pytest

from llm.training.config import TrainingConfig
from tasks.live_progress import LiveProgress, progress_text

CONFIG = TrainingConfig(steps=400, batch_tokens=8, context=8, learning_rate=0.1, warmup=0, validate_every=100)


class HandClock:
    """A clock that somebody sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_it_says_steps_losses_speed_and_how_long_the_rest_will_take() -> None:
    values = {"training_loss": 2.3104, "validation_loss": 2.4, "targets_per_second": 41_000.4, "gradient_norm": 1.0}
    told = "step 1,200 of 14,000, loss 2.310 (validation 2.400), 41,000 targets a second, about 12 min left"
    assert progress_text(1200, 14_000, values, seconds_left=700) == told
    assert progress_text(3, 10, {}, seconds_left=None) == "step 3 of 10"


def test_the_last_state_is_shown_at_the_end_and_the_time_left_counts_from_where_a_resumed_training_began() -> None:
    shown: list[tuple[float, str]] = []
    clock = HandClock()
    with LiveProgress(CONFIG, lambda *news: shown.append(news), every_seconds=3600, clock=clock) as live:
        live.report(200, {"training_loss": 1.0})
        clock.now = 10.0
        live.report(300, {"training_loss": 0.5})
    assert shown == [(75.0, "step 300 of 400, loss 0.500, about 10 s left")]


def test_a_training_that_reports_nothing_shows_nothing() -> None:
    shown: list[tuple[float, str]] = []
    with LiveProgress(CONFIG, lambda *news: shown.append(news)):
        pass
    assert shown == []


def test_while_a_page_takes_its_time_the_training_goes_on_and_only_the_newest_state_waits() -> None:
    entered, free = threading.Event(), threading.Event()
    shown: list[float] = []

    def slow(percent: float, markdown: str) -> None:
        shown.append(percent)
        entered.set()
        free.wait()

    with LiveProgress(CONFIG, slow, every_seconds=0.001) as live:
        live.report(4, {})
        entered.wait()
        for step in range(8, 401, 4):
            live.report(step, {})
        free.set()
    assert shown == [1.0, 100.0]


def test_a_training_that_is_stopped_does_not_wait_for_a_page_that_hangs() -> None:
    entered, free = threading.Event(), threading.Event()

    def hang(percent: float, markdown: str) -> None:
        entered.set()
        free.wait()

    def stopped() -> None:
        with LiveProgress(CONFIG, hang, every_seconds=0.001) as live:
            live.report(4, {})
            entered.wait()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    free.set()


def test_a_server_that_is_away_costs_one_line_in_the_log_each_time_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([False, False, True, False])
    asked = threading.Semaphore(0)

    def show(percent: float, markdown: str) -> None:
        asked.release()
        if not next(answers):
            raise ConnectionError("no route\nto host")

    with caplog.at_level(logging.WARNING), LiveProgress(CONFIG, show, every_seconds=0.001) as live:
        for step in (4, 8, 12, 16):
            live.report(step, {})
            asked.acquire()
    assert [record.getMessage() for record in caplog.records] == [
        "the progress of the training is not shown: no route to host"
    ] * 2
