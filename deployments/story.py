"""What reaches the terminal of the log: one story, with errors in two lines and engine chatter left out.

Named in logging.yaml. The Prefect UI still gets every line, and every traceback.
"""

from __future__ import annotations

import logging

from llm.errors import NightshiftError

# What the engine says of every task; the tasks tell more, and `nightshift run` lists them at the end with durations.
_CHATTER = (
    "Created task run",
    "Created subflow task run",
    "Finished in state Completed",
    # What failed has been logged with its cause by then, once for each level of the flow.
    "Finished in state Failed",
    "Starting temporary server",
    "Stopping temporary server",
    "View at http",
)


class StoryFilter(logging.Filter):
    """Drops chatter, and shows an error that we raised on purpose once, as its message, without a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._told: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        """False drops the record. The API handlers have seen it by then: this filter sits on the last handler."""
        error = _our_error(record)
        if error is not None:
            return self._retell(record, error)
        return not record.getMessage().startswith(_CHATTER)

    def _retell(self, record: logging.LogRecord, error: NightshiftError) -> bool:
        # The engine logs the same exception for the task, the flow and the flow around it.
        if error.problem == self._told:
            return False
        self._told = error.problem
        record.msg, record.args = "%s (remedy: %s)", (error.problem, error.remedy)
        record.exc_info = record.exc_text = None
        return True


def find_error(error: BaseException | None) -> NightshiftError | None:
    """The NightshiftError that `error` is or was raised from (`__cause__`), however deep.

    Contexts are not followed: a bug that shows while an error of ours is handled must keep its traceback.
    """
    while error is not None and not isinstance(error, NightshiftError):
        error = error.__cause__
    return error


def _our_error(record: logging.LogRecord) -> NightshiftError | None:
    if isinstance(record.exc_info, tuple):
        return find_error(record.exc_info[1])
    return None
