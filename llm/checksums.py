"""SHA-256 of files, remembered by size and time of change, so that a nightly run does not read what did not change."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

from llm.errors import StageError
from llm.files import read_json, sha256_of, write_json
from llm.pieces import Piece, pieces_of

# A file changed within so many nanoseconds of being read may change again without a new time: some file systems count
# in steps of two seconds.
_SETTLED = 2_000_000_000


class ChecksumCache:
    """Checksums of files, kept in the JSON file at `path`; one that cannot be read is begun anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._changed = False
        # Of files that changed just now: true for this run, and not to be relied on later.
        self._for_now: dict[tuple[str, int, int, int], Any] = {}

    def of(self, path: Path) -> str:
        """Hexadecimal SHA-256 of a file.

        Raises OSError when it cannot be read.
        """
        return str(self._remembered(str(path), path, "sha256", lambda: sha256_of(path)))

    def pieces(self, path: Path, cut: re.Pattern[bytes]) -> list[Piece]:
        """The pieces of a large file, each with its checksum: see `llm.pieces`.

        Raises OSError when it cannot be read.
        """
        name = f"{path} cut at {cut.pattern!r}"
        found = self._remembered(name, path, "pieces", lambda: [astuple(piece) for piece in pieces_of(path, cut)])
        return [Piece(*values) for values in found]

    def _remembered(self, name: str, path: Path, kind: str, compute: Callable[[], Any]) -> Any:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self._known.get(name)
        if known is not None and known["stamp"] == stamp:
            return known[kind]
        moment = (name, status.st_size, status.st_mtime_ns, status.st_ino)
        if moment in self._for_now:
            return self._for_now[moment]
        begun = time.time_ns()
        found = self._for_now[moment] = compute()
        if status.st_mtime_ns + _SETTLED < begun:
            self._known[name] = {"stamp": stamp, kind: found}
            self._changed = True
        return found

    def save(self) -> None:
        """Write what is new; two processes at once cost one of them its news, nothing else."""
        if self._changed:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self._known)
            self._changed = False


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        found = read_json(path)
    except StageError:
        return {}
    return found if isinstance(found, dict) else {}
