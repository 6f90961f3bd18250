"""Whoever stops a training finds a checkpoint of the step that it was at, and loses nothing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from copying import options, same_bits, train, train_and_tell

from llm.training.interruption import interruptions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_until_it_is_delivered_and_then_does_what_it_would_have_done(number: signal.Signals) -> None:
    seen: list[int] = []
    before = signal.signal(number, lambda number, _frame: seen.append(number))
    try:
        with interruptions() as interruption:
            signal.raise_signal(number)
            assert interruption.asked
            assert seen == []
            interruption.deliver()
            assert not interruption.asked
            assert seen == [number]
        signal.raise_signal(number)
        assert seen == [number, number]
    finally:
        signal.signal(number, before)


def test_the_second_signal_does_not_wait() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: seen.append(number))
    try:
        with interruptions():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            assert seen == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_closed_terminal_that_is_told_twice_waits_all_the_same() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda number, _frame: seen.append(number))
    try:
        with interruptions() as interruption:
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
            assert interruption.asked
            assert seen == []
        assert seen == [signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_that_turns_one_signal_into_another_is_not_heard_twice() -> None:
    seen: list[int] = []
    before = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, lambda _number, _frame: signal.raise_signal(signal.SIGTERM)),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number)),
    }
    try:
        with interruptions() as interruption:
            signal.raise_signal(signal.SIGHUP)
            interruption.deliver()
            assert not interruption.asked
            assert seen == [signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptions() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_that_nobody_asked_for_is_delivered_at_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), interruptions():
        signal.raise_signal(signal.SIGINT)


def test_in_another_thread_the_handlers_stay() -> None:
    found = []

    def look() -> None:
        with interruptions():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


# 6 and 24 end in a validation, which is then made up for; 24 is the last step.
@pytest.mark.parametrize("at", [3, 6, 7, 24])
@pytest.mark.parametrize("changes", [{}, {"average": 0.9, "targets": 3000, "decay": "late"}], ids=str)
def test_an_interrupted_training_goes_on_at_its_very_step_and_ends_in_the_same_weights_and_curve(
    tmp_path: Path, at: int, changes: dict[str, object]
) -> None:
    def interrupt(step: int, values: Mapping[str, float]) -> None:
        if step == at and "training_loss" in values:
            signal.raise_signal(signal.SIGINT)

    whole, unbroken = train(tmp_path / "whole", options(**changes))
    at = min(at, unbroken.progress.step)
    with pytest.raises(KeyboardInterrupt):
        train_and_tell(tmp_path / "broken", options(**changes), interrupt)
    assert (tmp_path / "broken" / f"step-{at:08d}").is_dir()
    again, resumed = train(tmp_path / "broken", options(**changes))
    assert same_bits(whole, again)
    curves = [
        [{name: value for name, value in point.items() if name != "targets_per_second"} for point in history]
        for history in (unbroken.progress.history, resumed.progress.history)
    ]
    assert curves[0] == curves[1]


def train_for_long(folder: Path, told: Connection) -> None:
    """The child process: a training without end that tells of its first step."""

    def tell(step: int, _values: Mapping[str, float]) -> None:
        if step == 50:
            told.send(step)

    train_and_tell(folder, options(steps=5_000, validate_every=5_000), tell)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_process_and_leaves_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    child = spawn.Process(target=train_for_long, args=(tmp_path, there))
    child.start()
    try:
        assert here.poll(120)
        assert child.pid is not None
        os.kill(child.pid, number)
        child.join(60)
        assert child.exitcode == -number
        (checkpoint,) = tmp_path.glob("step-*")
        assert int(checkpoint.name.removeprefix("step-")) >= 50
    finally:
        child.kill()
