"""What a job keeps while it runs: who it is, and the answers so far, so that it goes on where it was killed.

`OUTPUT.partial/` holds `manifest.json` and one `part-00000000.jsonl` for each run of rows that is answered. A file in
it that has its final name is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from llm.batch_prediction.answering import Outcome
from llm.batch_prediction.config import SQL
from llm.errors import ConfigError, StageError
from llm.files import fsync_folder, read_json, read_jsonl, write_atomically, write_json, write_jsonl
from llm.home import home

_MANIFEST = "manifest.json"
_LOCK = ".lock"
_JOINED = "joined.json"


@dataclass(frozen=True)
class ModelName:
    """Which model predicts: its `version`, what says that it is that one (`key`), and what a person called it."""

    family: str
    version: str
    key: str
    reference: str = ""


def work_folder(output: str) -> Path:
    """Where an unfinished job for this output lies: beside a file, and under our home for a table."""
    if output.startswith(SQL):
        return home() / "batches" / f"{output.removeprefix(SQL)}.partial"
    path = Path(output).expanduser()
    return path.with_name(f"{path.name}.partial")


def unfinished_model(output: str) -> ModelName | None:
    """The model of an unfinished job for this output, if there is one."""
    path = work_folder(output) / _MANIFEST
    return ModelName(**read_json(path)["model"]) if path.exists() else None


class Work:
    """The folder of a job, held by one process at a time; for a `with` block.

    Raises StageError when the folder cannot be made or another process holds it, ConfigError when it belongs to a job
    with another `identity`.
    """

    def __init__(self, output: str, identity: Mapping[str, Any], *, start_anew: bool) -> None:
        self.folder = work_folder(output)
        self._output = output
        self._identity = dict(identity)
        try:
            # A folder that is not there is more likely a typing error than a wish; our own is made.
            self.folder.mkdir(parents=output.startswith(SQL), exist_ok=True)
            self._lock = FileLock(self.folder / _LOCK)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StageError(
                f"{output}: another process is writing it", remedy="wait for it, or choose another output"
            ) from None
        except OSError as error:
            raise StageError(
                f"{output}: {self.folder} cannot be written ({error.strerror})",
                remedy="choose an output in a folder that you may write to",
            ) from None
        try:
            self._settle(start_anew)
        except BaseException:
            self._lock.release()
            raise

    def _settle(self, start_anew: bool) -> None:
        manifest = self.folder / _MANIFEST
        if start_anew or self.is_empty():
            for path in self.folder.iterdir():
                if path.name != _LOCK:
                    path.unlink()
        if manifest.exists():
            self._refuse_another(read_json(manifest))
        else:
            write_json(manifest, self._identity)
            fsync_folder(self.folder.parent)

    def _refuse_another(self, begun: Mapping[str, Any]) -> None:
        names = sorted({*begun, *self._identity})
        changed = [name for name in names if _identity(begun.get(name)) != _identity(self._identity.get(name))]
        if changed:
            told = "; ".join(
                f"{name} was {_told(begun.get(name))}, now {_told(self._identity.get(name))}" for name in changed
            )
            raise ConfigError(
                f"{self.folder} holds what another job left unfinished: {told}",
                remedy="repeat that job to finish it, or drop what it did and start anew (--start-anew)",
            )

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def parts(self) -> int:
        """How many parts are there from the first on, without a gap."""
        count = 0
        while self._part(count).exists():
            count += 1
        return count

    def is_empty(self) -> bool:
        """Whether there is nothing in it to go on with."""
        return not self.parts() and self.promised() is None

    def write_part(self, number: int, outcomes: Sequence[Outcome]) -> None:
        """Keep the outcomes of a run of rows: from here on they survive a crash."""
        write_atomically(self._part(number), lambda path: _write(path, outcomes))

    def outcomes(self) -> Iterator[Outcome]:
        """All that is kept, in the order of the rows."""
        for number in range(self.parts()):
            yield from (Outcome(**line) for line in read_jsonl(self._part(number)))

    def _part(self, number: int) -> Path:
        return self.folder / f"part-{number:08d}.jsonl"

    def promise(self, what: Mapping[str, Any]) -> None:
        """Note what the output is about to become, so that a job that is killed while it does is known to be done."""
        write_json(self.folder / _JOINED, dict(what))

    def promised(self) -> dict[str, Any] | None:
        """What `promise` noted."""
        path = self.folder / _JOINED
        found: dict[str, Any] | None = read_json(path) if path.exists() else None
        return found

    def remove(self) -> None:
        """Nothing is left to go on with."""
        shutil.rmtree(self.folder)


def _write(path: Path, outcomes: Sequence[Outcome]) -> None:
    write_jsonl(path, map(vars, outcomes))  # asdict copies deeply, a fifth of the time of a small model


def _identity(value: Any) -> Any:
    # By which name the model was asked for does not make it another.
    return {name: one for name, one in value.items() if name != "reference"} if isinstance(value, dict) else value


def _told(value: Any) -> str:
    if isinstance(value, dict) and "version" in value:
        return f"{value['family']} version {value['version']} ({value['key']})"
    return repr(value)
