"""SHA-256 of files, remembered by size and time of change, so that a nightly run does not read what did not change."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from llm.errors import StageError
from llm.files import read_json, sha256_of, write_json

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
        self._for_now: dict[tuple[str, int, int, int], str] = {}

    def of(self, path: Path) -> str:
        """Hexadecimal SHA-256 of a file.

        Raises OSError when it cannot be read.
        """
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        known = self._known.get(str(path))
        if known is not None and known["stamp"] == stamp:
            return str(known["sha256"])
        moment = (str(path), status.st_size, status.st_mtime_ns, status.st_ino)
        if moment in self._for_now:
            return self._for_now[moment]
        begun = time.time_ns()
        found = self._for_now[moment] = sha256_of(path)
        if status.st_mtime_ns + _SETTLED < begun:
            self._known[str(path)] = {"stamp": stamp, "sha256": found}
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
