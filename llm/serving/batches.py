"""Requests that wait are answered together: one thread owns the model and takes what is there."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from llm.config import Config
from llm.families.base import Answer
from llm.predictor import Predictor
from llm.progress import quiet
from llm.serving.limits import BusyError, ServerLimits

_STOPPING = BusyError("the server is stopping", remedy="ask again in a moment")


@dataclass(frozen=True, eq=False)
class _Job:
    """A request's texts, checked; with `write`, one text whose pieces are passed to it as they are written."""

    texts: Sequence[str]
    config: Config
    write: Callable[[str], None] | None = None
    future: Future[Any] = field(default_factory=Future)


class Batches:
    """Answers requests in one thread, those with equal parameters in one call of the model.

    The thread never waits for more to come: alone, a request is answered at once, and while one batch is being
    answered the next gathers. A request's answers are those that it gets alone, up to the rounding of a batch's
    products: each request keeps its own random numbers.
    """

    def __init__(self, predictor: Predictor, limits: ServerLimits) -> None:
        self._predictor = predictor
        self._limits = limits
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch that is being answered, refuse what waits, and wait until the thread has ended."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()
        while self._jobs:
            job = self._jobs.popleft()
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(_STOPPING)

    def submit(self, texts: Sequence[str], config: Config) -> Future[list[Answer]]:
        """The answers to come; a future that is cancelled before its turn costs nothing.

        Raises BusyError when too many wait.
        """
        return self._add(_Job(texts, config))

    def submit_stream(self, text: str, config: Config, write: Callable[[str], None]) -> Future[None]:
        """Pass the pieces of one answer to `write`, in the model's thread; an exception that it raises ends the answer.

        Raises BusyError when too many wait.
        """
        return self._add(_Job([text], config, write))

    def _add(self, job: _Job) -> Future[Any]:
        with self._changed:
            if self._stopped:
                raise _STOPPING
            if len(self._jobs) >= self._limits.requests:
                raise BusyError(
                    f"{len(self._jobs)} requests are waiting, and the server lets no more wait",
                    remedy="ask again in a moment",
                )
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def _work(self) -> None:
        with quiet():
            while jobs := self._next():
                running = [job for job in jobs if job.future.set_running_or_notify_cancel()]
                if running:
                    self._answer(running)

    def _next(self) -> list[_Job]:
        """What is to be answered now, as soon as there is something; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._jobs)
            return [] if self._stopped else self._take()

    def _take(self) -> list[_Job]:
        """The job that has waited longest, and those that can be answered with it."""
        first = self._jobs.popleft()
        if first.write is not None or not self._predictor.engine.independent(first.config):
            return [first]
        taken, left, texts = [first], deque[_Job](), len(first.texts)
        for job in self._jobs:
            fits = texts + len(job.texts) <= self._limits.batch_texts
            if fits and job.write is None and job.config == first.config:
                taken.append(job)
                texts += len(job.texts)
            else:
                left.append(job)
        self._jobs = left
        return taken

    def _answer(self, jobs: list[_Job]) -> None:
        try:
            if jobs[0].write is not None:
                for piece in self._predictor.family.stream(self._predictor, jobs[0].texts[0], jobs[0].config):
                    jobs[0].write(piece)
                found: list[Any] = [None]
            else:
                found = self._predictor.answer_together([job.texts for job in jobs], jobs[0].config)
        except BaseException as error:  # tokenizers' PanicException is no Exception, and the thread must survive it too
            if len(jobs) > 1:
                # None may suffer for what another one sent.
                for job in jobs:
                    self._answer([job])
                return
            jobs[0].future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        else:
            for job, answers in zip(jobs, found, strict=True):
                job.future.set_result(answers)
