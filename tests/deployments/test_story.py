"""The log on the terminal: our errors once and in one line, engine chatter left out, everything else untouched."""

from __future__ import annotations

import logging
import sys

from deployments.story import StoryFilter, find_error
from llm.errors import ConfigError


def record(message: str, *, level: int = logging.INFO, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = None
    if error is not None:
        try:
            raise error
        except type(error):
            exc_info = sys.exc_info()
    return logging.LogRecord("prefect.flow_runs", level, __file__, 1, message, None, exc_info)


def test_what_tasks_say_and_where_a_flow_begins_is_kept() -> None:
    assert StoryFilter().filter(record("read 38 plays"))
    assert StoryFilter().filter(record("Beginning flow run 'retrain translation' for flow 'retrain'"))


def test_engine_chatter_is_left_out() -> None:
    story = StoryFilter()
    assert not story.filter(record("Created task run 'train-0' for task 'train'"))
    assert not story.filter(record("Finished in state Completed()"))
    assert not story.filter(record("Finished in state Failed('ConfigError: x')", level=logging.ERROR))


def test_a_crash_or_cancellation_is_told() -> None:
    assert StoryFilter().filter(record("Finished in state Crashed('killed')", level=logging.ERROR))


def test_an_error_of_ours_is_told_in_one_line_without_traceback() -> None:
    told = record("Encountered exception", level=logging.ERROR, error=ConfigError("steps = -1", remedy="correct steps"))
    assert StoryFilter().filter(told)
    assert logging.Formatter().format(told) == "steps = -1 (remedy: correct steps)"


def test_the_same_error_is_told_once_though_each_level_of_the_flow_logs_it() -> None:
    story = StoryFilter()
    error = ConfigError("steps = -1", remedy="correct steps")
    assert story.filter(record("Task run failed", level=logging.ERROR, error=error))
    assert not story.filter(record("Encountered exception", level=logging.ERROR, error=error))
    other = ConfigError("steps = -2", remedy="correct steps")
    assert story.filter(record("Encountered exception", level=logging.ERROR, error=other))


def test_a_bug_keeps_its_traceback() -> None:
    told = record("Encountered exception", level=logging.ERROR, error=KeyError("metrics"))
    assert StoryFilter().filter(told)
    assert "Traceback" in logging.Formatter().format(told)


def test_an_error_is_found_through_causes_but_not_through_contexts() -> None:
    ours = ConfigError("x", remedy="y")
    outer = RuntimeError("failed")
    outer.__cause__ = ours
    assert find_error(outer) is ours
    bug = RuntimeError("bug")
    bug.__context__ = ours
    assert find_error(bug) is None
    assert find_error(None) is None
