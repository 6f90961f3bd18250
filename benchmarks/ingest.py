"""From JSON lines to a cleaned, deduplicated, split corpus: ours beside `datasets.map`; one JSON line.

Each run is a process of its own with as many workers; the runs of a round take turns. Both repair encodings (ftfy),
line ends, control characters, Unicode (NFC) and outer space, drop blank and short texts and exact duplicates, split by
a hash of the text, and write JSON lines. Ours also keeps an account and a quarantine, drops what a held-out split has
in another case or spacing, and fsyncs and hashes what it writes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.race import machine
from benchmarks.tokenize import rows, words_of_the_standard_library

_FILES = 8
_SHORTEST = 20
_DUPLICATES, _DIRTY = 0.05, 0.02
_SAMPLE_S = 0.1


def write_text(folder: Path, *, megabytes: float) -> list[Path]:
    """Files of rows with some of everything that cleaning is for."""
    words = words_of_the_standard_library()
    draw = random.Random(0)  # noqa: S311
    paths = []
    for number in range(_FILES):
        path = folder / f"{number}.jsonl"
        before = ""
        with path.open("w", encoding="utf-8") as file:
            for row in rows(words, megabytes=megabytes / _FILES, novel=0.05, seed=number):
                text = before if draw.random() < _DUPLICATES else row["text"]
                if draw.random() < _DIRTY:
                    text = draw.choice([_mojibake, _decomposed, _controlled])(text)
                file.write(json.dumps({"text": text, "id": draw.randrange(1 << 30)}, ensure_ascii=False) + "\n")
                before = text
        paths.append(path)
    return paths


def _mojibake(text: str) -> str:
    return f"Größe: {text}".encode().decode("latin-1")


def _decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", f"Größe: {text}")


def _controlled(text: str) -> str:
    return f"  \x07{text}\r\n\x85"


def ours(files: Sequence[str], out: Path, workers: int) -> int:
    """The corpus stage."""
    from llm.cleaning.config import CleaningConfig
    from llm.corpora.local_files import LocalFilesConfig
    from llm.ingest.corpus import corpus_stage
    from llm.splits import SplitConfig

    config = LocalFilesConfig(format="jsonl", paths=tuple(files), columns={"text": "text"})
    # The other has no such step.
    cleaning = CleaningConfig(minimum_characters=_SHORTEST, overlaps="keep")
    stage = corpus_stage(config, cleaning, SplitConfig(), fields=("text",), root=out, downloads=out, workers=workers)
    return int(stage.facts["kept"])


def datasets_map(files: Sequence[str], out: Path, workers: int) -> int:
    """The same by `datasets`: one map over batches, duplicates by pandas, splits by select, written by to_json."""
    import datasets

    datasets.disable_progress_bars()
    data = datasets.load_dataset("json", data_files=list(files), split="train", cache_dir=str(out / "cache"))
    cleaned = data.map(_cleaned, batched=True, num_proc=workers, remove_columns=data.column_names)
    frame = cleaned.select_columns(["hash", "place"]).to_pandas()
    first = frame[~frame["hash"].duplicated()]
    held_out = {"test": first["place"] < 0.06, "validation": first["place"] >= 0.94}
    held_out["train"] = ~(held_out["test"] | held_out["validation"])
    for split, chosen in held_out.items():
        part = cleaned.select(first.index[chosen]).select_columns(["group", "text"])
        part.to_json(str(out / f"{split}.jsonl"), force_ascii=False)
    return len(first)


def _cleaned(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
    import re

    from ftfy import fix_encoding

    control = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ud800-\udfff]")
    found: dict[str, list[Any]] = {"text": [], "group": [], "hash": [], "place": []}
    for given in batch["text"]:
        text = fix_encoding(given).replace("\r\n", "\n").replace("\r", "\n")
        text = unicodedata.normalize("NFC", control.sub("", text)).strip()
        if len(text) >= _SHORTEST:
            group = hashlib.sha256(text.encode()).hexdigest()[:16]
            digest = hashlib.sha256(f"nightshift-1949\0{group}".encode()).digest()
            found["text"].append(text)
            found["group"].append(group)
            found["hash"].append(hashlib.blake2b(text.encode(), digest_size=8).hexdigest())
            found["place"].append((int.from_bytes(digest[:8], "big") >> 11) / (1 << 53))
    return found


CONTENDERS: dict[str, Callable[[Sequence[str], Path, int], int]] = {"ours": ours, "datasets_map": datasets_map}


def run_one(name: str, files: Sequence[str], workers: int) -> dict[str, float]:
    """Seconds, records kept, and the most memory that the process and its children had at one moment, in MB."""
    most = [0.0]
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(most, done), daemon=True)
    with tempfile.TemporaryDirectory() as folder:
        watch.start()
        started = time.perf_counter()
        kept = CONTENDERS[name](files, Path(folder), workers)
        seconds = time.perf_counter() - started
    done.set()
    watch.join()
    return {"seconds": seconds, "kept": kept, "peak_mb": most[0]}


def _watch(most: list[float], done: threading.Event) -> None:
    process = psutil.Process()
    while not done.wait(_SAMPLE_S):
        total = 0
        for one in [process, *process.children(recursive=True)]:
            try:
                # Shared pages once: of a child only what is its own.
                total += one.memory_info().rss if one == process else one.memory_full_info().uss
            except psutil.NoSuchProcess:  # it ended between the list and the look
                continue
        most[0] = max(most[0], total / 1e6)


def start(name: str, files: Sequence[Path], workers: int) -> dict[str, float]:
    """`run_one` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--only", name, "--workers", str(workers), *map(str, files)]
    environment = os.environ | {"HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(folder: Path, *, megabytes: float, rounds: int, workers: int) -> dict[str, Any]:
    """Both by turns."""
    files = write_text(folder, megabytes=megabytes)
    size = sum(path.stat().st_size for path in files) / 1e6
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name, found in runs.items():
            found.append(start(name, files, workers))
    seconds = {name: statistics.median(run["seconds"] for run in found) for name, found in runs.items()}
    return {
        "megabytes": round(size, 1),
        "mb_per_second": {name: round(size / taken, 2) for name, taken in seconds.items()},
        "peak_mb": {name: round(max(run["peak_mb"] for run in found)) for name, found in runs.items()},
        "kept": {name: found[0]["kept"] for name, found in runs.items()},
        "ratio": round(seconds["datasets_map"] / seconds["ours"], 2),
    }


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--megabytes", type=float, default=1000.0, help="of text")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2, help="processes of each contender")
    parser.add_argument("--only", choices=CONTENDERS, help="what a run's own process is asked for, with its files")
    parser.add_argument("files", nargs="*")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(run_one(options.only, options.files, options.workers)))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), megabytes=options.megabytes, rounds=options.rounds, workers=options.workers)
    print(json.dumps({"benchmark": "ingest", **found, "workers": options.workers, "machine": machine()}))


if __name__ == "__main__":
    main()
