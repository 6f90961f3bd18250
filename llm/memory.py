"""Memory that is not there: one clear error, whoever asked for it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from llm.errors import MemoryShortageError

# torch says so in the text of a RuntimeError: on a CPU "you tried to allocate 1073741824 bytes", on a GPU "Tried to
# allocate 2.00 GiB".
_TORCH = re.compile(r"can't allocate memory|out of memory", re.IGNORECASE)
_WANTED = re.compile(r"tried to allocate ([\d.,]+) ?(\w+)", re.IGNORECASE)


@contextmanager
def allocating(what: str) -> Iterator[None]:
    """Turn what is raised where memory runs out into a MemoryShortageError that names `what` needed it."""
    try:
        yield
    except Exception as error:
        wanted = shortage(error)
        if wanted is None:
            raise
        raise MemoryShortageError(
            f"{what}: memory ran out" + (f" ({wanted} more were asked for)" if wanted else ""),
            remedy="let it have more, or ask for less: a smaller training.batch_tokens or training.context, a smaller "
            "model; what is finished is kept",
        ) from error


def shortage(error: BaseException) -> str | None:
    """How much memory was not there, "" where that is not known; None when `error` is about something else."""
    if isinstance(error, OSError):
        return "" if error.errno == errno.ENOMEM else None
    text = str(error)
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and _TORCH.search(text)):
        return None
    found = _WANTED.search(text)
    if found is None:
        return ""
    return f"{int(found[1]):,} {found[2]}" if found[1].isdigit() else f"{found[1]} {found[2]}"
