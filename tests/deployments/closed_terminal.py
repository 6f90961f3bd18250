"""A terminal that a test opens and closes, as a dropped ssh connection does."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

# The first terminal that the leader of a session opens is its own, whose end the system tells it with SIGHUP.
_TAKE_IT = "import os, sys; os.open(os.ttyname(0), os.O_RDWR); os.execv(sys.argv[1], sys.argv[1:])"


class ClosedTerminal:
    """A process on a terminal of its own."""

    def __init__(self, command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_IT, *command],
            env=dict(environment),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._open = True

    def read_until(self, seen: Callable[[str], bool]) -> str:
        """All that it has shown, once that is what was to be `seen`."""
        shown = b""
        while not seen(shown.decode(errors="replace")):
            shown += os.read(self._ours, 4096)  # EIO where the process has ended
        return shown.decode(errors="replace")

    def close(self) -> None:
        """Nobody reads it any more, and nothing can be written."""
        if self._open:
            self._open = False
            os.close(self._ours)


@contextmanager
def on_a_terminal(command: Sequence[str], *, environment: Mapping[str, str]) -> Iterator[ClosedTerminal]:
    """Start a command on a terminal; both are gone at the end."""
    terminal = ClosedTerminal(command, environment=environment)
    try:
        yield terminal
    finally:
        terminal.close()
        with suppress(ProcessLookupError):
            terminal.process.kill()
        terminal.process.wait()
