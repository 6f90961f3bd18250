"""Parts of a corpus that are read by several processes at once, each its share of them."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from llm import errors
from llm.checksums import ChecksumCache
from llm.cleaning.config import CleaningConfig
from llm.corpora import CORPORA
from llm.corpora.addresses import WITH_SECRETS
from llm.corpora.base import SourceConfig
from llm.errors import NightshiftError, StageError
from llm.files import read_json, write_json
from llm.ingest.shards import shard_spec, shard_stage
from llm.processes import last_line, run_child
from llm.progress import following

# A day, which no share of a night's new files should take.
_LONGEST_S = 86_400.0
_ERROR = "error.json"
# There is a process a core; the threads that NumPy's libraries start would wait busily for work that never comes.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Objects between two collections: records come and go in batches, and hold each other in no cycles.
_COLLECTED_AFTER = 100_000


def read_parts(
    shares: Sequence[Mapping[str, SourceConfig]],
    cleaning: CleaningConfig,
    *,
    fields: Sequence[str],
    salt: str,
    root: Path,
    downloads: Path,
    folder: Path,
    done: Callable[[], int],
) -> None:
    """Build the shards of the parts in each of `shares`, by name, a process a share; `folder` is for their messages.

    `done` tells how many of the parts are ready.

    Raises the first error of any of them.
    """
    jobs = []
    for number, parts in enumerate(shares):
        job = folder / f"job-{number}"
        job.mkdir()
        options = {
            "parts": {name: part.model_dump(mode="json", context=WITH_SECRETS) for name, part in parts.items()},
            "cleaning": cleaning.model_dump(mode="json", context=WITH_SECRETS),
            "fields": list(fields),
            "salt": salt,
            "root": str(root.resolve()),
            "downloads": str(downloads.resolve()),
        }
        write_json(job / "job.json", options)
        jobs.append(job)
    count = sum(map(len, shares))
    label = f"reading {count} parts in {len(jobs)} processes"
    with following(label, total=count, done=done), ThreadPoolExecutor(len(jobs)) as threads:
        for job, (code, message) in zip(jobs, threads.map(_run, jobs), strict=True):
            if (job / _ERROR).exists():
                raise _error(read_json(job / _ERROR))
            if code != 0:
                raise StageError(f"reading the corpus failed: {last_line(message)}", remedy="see the message")


def _run(job: Path) -> tuple[int, str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), **_ONE_THREAD}
    # In the folder of the parent: paths of files are relative to it.
    command = [sys.executable, "-m", "llm.ingest.workers", str(job.resolve())]
    return run_child(command, environment=environment, folder=Path.cwd(), longest=_LONGEST_S)


def _error(found: Mapping[str, str]) -> NightshiftError:
    kind: type[NightshiftError] = getattr(errors, found["kind"])
    return kind(found["problem"], remedy=found["remedy"])


def work(job: Path) -> None:
    """Build the shards that `job/job.json` names; an error of ours becomes `job/error.json`."""
    options: dict[str, Any] = json.loads((job / "job.json").read_text(encoding="utf-8"))
    cleaning = CleaningConfig.model_validate(options["cleaning"])
    root, downloads = Path(options["root"]), Path(options["downloads"])
    checksums = ChecksumCache(root / "checksums.json")
    try:
        for name, values in options["parts"].items():
            part = CORPORA[values["source"]].part.model_validate(values)
            chosen: Any = {"fields": options["fields"], "salt": options["salt"]}
            spec = shard_spec(part, cleaning, checksum=checksums.of, **chosen)
            shard_stage(spec, part, cleaning, name=name, root=root, downloads=downloads, **chosen)
    except NightshiftError as error:
        write_json(job / _ERROR, {"kind": type(error).__name__, "problem": error.problem, "remedy": error.remedy})


def main() -> None:
    """The child process."""
    gc.set_threshold(_COLLECTED_AFTER)
    parser = argparse.ArgumentParser(prog="python -m llm.ingest.workers", description=__doc__)
    parser.add_argument("job", type=Path, help="folder with job.json")
    work(parser.parse_args().job)


if __name__ == "__main__":
    main()
