"""Progress on a page: what it says, that training never waits for it, and that no failure of it reaches training."""

from __future__ import annotations

import logging
import threading

import pytest

from llm.training.config import TrainingConfig
from tasks.live_progress import LiveProgress, progress_text

CONFIG = TrainingConfig(steps=400, batch_tokens=8, context=8, learning_rate=0.1, warmup=0, validate_every=100)


def used(share: float) -> dict[str, float]:
    return {"budget_used": share, "seconds_left": 600.0}


def test_it_says_steps_losses_speed_and_how_long_the_rest_will_take() -> None:
    values = {"training_loss": 2.3104, "validation_loss": 2.4, "targets_per_second": 41_000.4, "gradient_norm": 1.0}
    told = "step 1,200 of 14,000, loss 2.310 (validation 2.400), 41,000 targets a second, about 12 min left"
    assert progress_text("step 1,200 of 14,000", values, seconds_left=700) == told
    assert progress_text("step 3 of 10", {}) == "step 3 of 10"


def test_the_share_is_that_of_the_budget_and_not_of_the_steps() -> None:
    shown: list[tuple[float, str]] = []
    seen = threading.Event()

    def show(percent: float, markdown: str) -> None:
        shown.append((percent, markdown))
        seen.set()

    with LiveProgress(CONFIG, show, every_seconds=0.001) as live:
        live.report(84, used(0.97) | {"training_loss": 1.0})
        seen.wait()
    assert shown[0] == (97.0, "step 84 of 400, loss 1.000, about 10 min left")


def test_a_training_that_its_time_or_its_patience_ended_is_done_and_says_after_how_many_steps() -> None:
    shown: list[tuple[float, str]] = []
    with LiveProgress(CONFIG, lambda *news: shown.append(news), every_seconds=3600) as live:
        live.report(84, used(0.97) | {"training_loss": 1.0})
    assert shown == [(100.0, "done after 84 of 400 steps, loss 1.000")]


@pytest.mark.parametrize(("error", "told"), [(ValueError, "failed"), (KeyboardInterrupt, "stopped")])
def test_a_training_that_did_not_end_well_stays_where_it_was_and_says_so(error: type[BaseException], told: str) -> None:
    shown: list[tuple[float, str]] = []
    over = threading.Event()

    def show(percent: float, markdown: str) -> None:
        shown.append((percent, markdown))
        over.set()

    def ended() -> None:
        with LiveProgress(CONFIG, show, every_seconds=3600) as live:
            live.report(84, used(0.5))
            raise error

    with pytest.raises(error):
        ended()
    over.wait()  # whoever was stopped did not wait for it
    assert shown == [(50.0, f"{told} after step 84 of 400")]


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
        live.report(4, used(0.01))
        entered.wait()
        for step in range(8, 401, 4):
            live.report(step, used(step / 400))
        free.set()
    assert sorted(set(shown)) == [1.0, 100.0]


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
    answers = iter([False, False, True, False, False])
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
