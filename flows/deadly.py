"""Families whose retraining brought the whole process down come last, so that the others have their turn each night.

An error in a family is caught, and the night goes on. The kernel, which kills a process for want of memory, is not: the
night that is run again would come to the same family first, and so would every night after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from llm.errors import StageError
from llm.files import read_json, write_json
from llm.home import home
from llm.liveness import is_alive, this_process

T = TypeVar("T")


@contextmanager
def under_way(family: str) -> Iterator[None]:
    """Inside, a file says that this process is at the family; it goes however that ends, unless by a kill."""
    mark = _mark(family)
    # On a full disk the night tries all the same: where nothing is new, it needs no room.
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        write_json(mark, this_process())
    try:
        yield
    finally:
        with suppress(OSError):
            mark.unlink()


def deadly_last(items: Sequence[T], *, family: Callable[[T], str], say: Callable[[str], None]) -> list[T]:
    """The same, those families last of which a process died; `say` is told of each that has to wait for others."""
    last = [item for item in items if _died(family(item))]
    for item in last if len(last) < len(items) else ():
        say(f"{family(item)} comes last: the process that retrained it before was killed in the middle of it")
    return [item for item in items if item not in last] + last


def _died(family: str) -> bool:
    mark = _mark(family)
    try:
        return mark.exists() and not is_alive(read_json(mark))
    except (StageError, ValueError):
        return False  # not what was written, or gone meanwhile: the order is no matter of life and death


def _mark(family: str) -> Path:
    return home() / "under-way" / f"{family}.json"
