"""The account of a cleaning: counts that add up, and a row in the quarantine for every record that was dropped."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedWriter, RawIOBase
from pathlib import Path
from typing import Any

from llm.cleaning.checks import BAD
from llm.corpora.base import Dropped, Unreadable
from llm.errors import CorpusError

# Characters of each field that the quarantine keeps; source and position lead to the rest.
_KEPT = 1_000
# After so many records, a source that is mostly bad is given up: a wrong column or encoding shows at once.
_EARLY, _MOSTLY = 1_000, 0.5
# Examples and steps that an error names.
_NAMED = 3
_PACKED_AT_ONCE = 1 << 18

Row = dict[str, Any]


@dataclass
class Account:
    """read = kept + sum of dropped; `repaired` counts records that a repair changed and kept.

    `quarantine` takes a row for every record that was dropped: source, position (line, row or number, from 1), offset
    (bytes, or null), step, reason, and the record itself or the beginning of what could not be read.
    """

    quarantine: Callable[[Row], object]
    read: int = 0
    kept: int = 0
    bad: int = 0
    repaired: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def drop(self, step: str, dropped: Dropped) -> None:
        """Count and quarantine a record that `step` did not let through."""
        record = dropped.record
        row = {"source": record.origin, "position": record.position, "offset": None}
        fields = {name: value[:_KEPT] for name, value in record.fields.items()}
        self._note({**row, "step": step, "reason": dropped.reason, "record": fields}, bad=step in BAD)

    def unreadable(self, found: Unreadable) -> None:
        """Count and quarantine what is no record."""
        row = {"source": found.origin, "position": found.position, "offset": found.offset}
        self._note({**row, "step": found.defect, "reason": found.reason, "text": found.text}, bad=found.bad)

    def _note(self, row: Row, *, bad: bool) -> None:
        step = row["step"]
        self.dropped[step] = self.dropped.get(step, 0) + 1
        self.bad += bad
        if bad:
            self.examples.setdefault(step, f"{row['source']}, {row['position']}: {row['reason']}")
        self.quarantine(row)

    def check_early(self, *, most: float) -> None:
        """Give up a source of which nearly nothing can be read, before all of it is.

        Raises CorpusError.
        """
        if self.read == _EARLY and self.bad > max(most, _MOSTLY) * self.read:
            raise too_much_bad(self.facts, most=most)

    @property
    def facts(self) -> Row:
        """All counts, for a manifest."""
        return {
            "read": self.read,
            "kept": self.kept,
            "bad": self.bad,
            "repaired": self.repaired,
            "dropped": self.dropped,
            "examples": self.examples,
        }


def too_much_bad(facts: Mapping[str, Any], *, most: float, quarantine: Path | None = None) -> CorpusError:
    """The error for a source with more than a share `most` of bad records, by the `facts` of its account.

    `quarantine` is the file that holds them, where the source was read to its end.
    """
    share = facts["bad"] / facts["read"]
    steps = sorted(facts["examples"], key=lambda step: -facts["dropped"][step])[:_NAMED]
    told = "; ".join(f"{step} {facts['dropped'][step]:,} (first: {facts['examples'][step]})" for step in steps)
    return CorpusError(
        f"{facts['bad']:,} of {facts['read']:,} records are bad, {share:.1%}, more than "
        f"cleaning.maximum_bad_share = {most:.1%}: {told}",
        remedy="correct the source or its options, or raise cleaning.maximum_bad_share to go on without them"
        + (f"; they are in {quarantine}" if quarantine else ""),
    )


@contextmanager
def quarantine_file(path: Path, *, after: Iterable[Path] = ()) -> Iterator[Callable[[Row], None]]:
    """Takes rows and writes them as gzipped JSON lines, behind those of the files `after`.

    The same rows make the same bytes.
    """
    from orjson import OPT_APPEND_NEWLINE, dumps  # here: a served model imports the options of cleaning, not this

    with path.open("wb") as file:
        for part in after:
            # Gzipped files one behind the other are a gzipped file.
            with part.open("rb") as earlier:
                shutil.copyfileobj(earlier, file)
        # The lowest level: what a source repeats is dropped in masses.
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0)
        # Row by row, the calls would cost more than the compression.
        with BufferedWriter(_Behind(packed), _PACKED_AT_ONCE) as buffer:

            def write(row: Row) -> None:
                buffer.write(dumps(row, option=OPT_APPEND_NEWLINE))

            yield write


class _Behind(RawIOBase):
    """Hands what is written on in a thread, while the next is gathered: compressing lets other threads run."""

    def __init__(self, target: gzip.GzipFile) -> None:
        self._target = target
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[int] | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._wait()
        whole = bytes(data)
        self._writing = self._thread.submit(self._target.write, whole)
        return len(whole)

    def close(self) -> None:
        if not self.closed:
            try:
                self._wait()
            finally:
                self._thread.shutdown()
                self._target.close()
                super().close()

    def _wait(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()


def read_quarantine(path: Path) -> Iterator[Row]:
    """The rows of a quarantine file."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)
