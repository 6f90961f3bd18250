"""From text to packed token ids: our stage beside the usual ways, and its memory as the text grows; one JSON line.

Every run is a process of its own, so that its peak of memory is its own; the runs of one round take turns. Ours is the
whole stage: JSON lines in, checksummed files and manifest out. The clock of the others starts when they hold the text.

- encode_batch_fast: the `tokenizers` library into one numpy array, rows in memory
- datasets_map: `datasets.Dataset.map` with a fast tokenizer of `transformers`, into Arrow
- group_texts: the same, and a second `map` that packs blocks of 1,024 tokens, as the language modelling examples of
  `transformers` do
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from llm.files import read_jsonl, write_jsonl
from llm.progress import track
from llm.stages import Stage, StageSpec, open_stage, run_stage
from llm.tokenizer import TextTokenizer
from llm.tokenizer_training import TokenizerConfig, tokenizer_stage

_TEMPLATE = "<s> $A"
_VOCABULARY = 8000
_RUN = 12  # words of a docstring that stay together
_BLOCK = 1024
_ROWS = 1000  # a batch, as datasets.map has it


def words_of_the_standard_library() -> list[str]:
    """The words of its docstrings, in order, with the line breaks between them."""
    words: list[str] = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                words.extend((ast.get_docstring(node) or "").split(" "))
    return words


def rows(words: list[str], *, megabytes: float, novel: float, seed: int = 0) -> Iterator[dict[str, str]]:
    """Rows of some 10 to 2,000 words: runs of `words`, and a share `novel` of words that nobody has read before."""
    draw = random.Random(seed)  # noqa: S311
    letters = "etaoinshrdlu"
    size = 0
    while size < megabytes * 1e6:
        text: list[str] = []
        for _ in range(max(1, int(draw.lognormvariate(1.5, 1.0)))):
            start = draw.randrange(len(words) - _RUN)
            text += words[start : start + _RUN]
        for place in range(len(text)):
            if draw.random() < novel:
                text[place] = "".join(draw.choices(letters, k=draw.randrange(4, 12)))
        row = {"group": "g", "text": " ".join(text)}
        size += len(row["text"].encode())
        yield row


def write_corpus(root: Path, *, megabytes: float, novel: float) -> Stage:
    """A corpus stage with all rows in train."""
    words = words_of_the_standard_library()

    def build(folder: Path) -> dict[str, Any]:
        made = track(rows(words, megabytes=megabytes, novel=novel), label=f"writing {megabytes:g} MB")
        count = write_jsonl(folder / "train.jsonl", made)
        for split in ("validation", "test"):
            write_jsonl(folder / f"{split}.jsonl", rows(words, megabytes=0.01, novel=novel, seed=1))
        return {"rows": count}

    spec = StageSpec(name="corpus", version=1, config={"megabytes": megabytes, "novel": novel}, inputs={})
    return run_stage(spec, build, root=root)


Work = Callable[[], int]
# Each holds what it needs when it returns, and then does the work that is timed: train tokens.


def ours(corpus: Path, tokenizer: Path, out: Path) -> Work:
    """The tokens stage of the generation family."""
    from llm.families.generation import Generation
    from llm.tokens import tokens_stage

    def work() -> int:
        stage = tokens_stage(open_stage(corpus), open_stage(tokenizer), family=Generation(), root=out)
        sizes = stage.facts["splits"]["train"]
        # The closing </s> of each row is ours alone.
        return int(sizes["tokens"]["text"]) - int(sizes["rows"])

    return work


def encode_batch_fast(corpus: Path, tokenizer: Path, out: Path) -> Work:
    """See the top."""
    del out
    text_tokenizer = TextTokenizer.load(tokenizer)._tokenizer
    texts = [row["text"] for row in read_jsonl(corpus / "train.jsonl")]

    def work() -> int:
        parts = []
        for start in range(0, len(texts), _ROWS):
            encodings = text_tokenizer.encode_batch_fast(texts[start : start + _ROWS])
            parts.append(np.fromiter(chain.from_iterable(each.ids for each in encodings), dtype=np.int32))
        return int(np.concatenate(parts).size)

    return work


def _datasets(corpus: Path, tokenizer: Path, out: Path) -> tuple[Any, Callable[[dict[str, Any]], dict[str, Any]]]:
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    fast = AutoTokenizer.from_pretrained(tokenizer)
    files = str(corpus / "train.jsonl")
    data = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(out))

    def tokenize(batch: dict[str, Any]) -> dict[str, Any]:
        return dict(fast(batch["text"], return_attention_mask=False, return_token_type_ids=False))

    return data, tokenize


def datasets_map(corpus: Path, tokenizer: Path, out: Path) -> Work:
    """See the top."""
    data, tokenize = _datasets(corpus, tokenizer, out)

    def work() -> int:
        mapped = data.map(tokenize, batched=True, remove_columns=data.column_names)
        column = mapped.data.column("input_ids")
        return sum(len(chunk.flatten()) for chunk in column.chunks)

    return work


def group_texts(corpus: Path, tokenizer: Path, out: Path) -> Work:
    """See the top. What does not fill a block at the end of a batch is dropped, as it is there."""
    data, tokenize = _datasets(corpus, tokenizer, out)

    def grouped(batch: dict[str, Any]) -> dict[str, Any]:
        ids = list(chain(*batch["input_ids"]))
        blocks = [ids[start : start + _BLOCK] for start in range(0, len(ids) // _BLOCK * _BLOCK, _BLOCK)]
        return {"input_ids": blocks, "labels": [block.copy() for block in blocks]}

    def work() -> int:
        mapped = data.map(tokenize, batched=True, remove_columns=data.column_names)
        return len(mapped.map(grouped, batched=True)) * _BLOCK

    return work


CONTENDERS: dict[str, Callable[[Path, Path, Path], Work]] = {
    "ours": ours,
    "encode_batch_fast": encode_batch_fast,
    "datasets_map": datasets_map,
    "group_texts": group_texts,
}


def peak_mb() -> float:
    """Most memory that this process has had so far, in MB of a million bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: a child inherits that of the process that started it.
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def run_one(name: str, corpus: Path, tokenizer: Path) -> dict[str, float]:
    """What the child process does: seconds, tokens, and peaks of memory before and after the work."""
    with tempfile.TemporaryDirectory() as folder:
        work = CONTENDERS[name](corpus, tokenizer, Path(folder))
        before = peak_mb()
        started = time.perf_counter()
        tokens = work()
        return {
            "seconds": time.perf_counter() - started,
            "tokens": tokens,
            "peak_mb_before": before,
            "peak_mb": peak_mb(),
        }


def start(name: str, corpus: Stage, tokenizer: Stage) -> dict[str, float]:
    """`run_one` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.tokenize", "--only", name, str(corpus.path), str(tokenizer.path)]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "true", "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def summary(runs: list[dict[str, float]], *, megabytes: float) -> dict[str, float]:
    """Medians of runs on a text of so many MB."""
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    rounded = {key: round(middle[key], 3 if key == "seconds" else 0) for key in middle}
    return rounded | {"mb_per_second": round(megabytes / middle["seconds"], 2)}


def measure(root: Path, *, sizes: list[float], compare: float, rounds: int, novel: float) -> dict[str, Any]:
    """Contenders by turns at `compare` MB, and ours alone at each of `sizes`."""
    corpora = {size: write_corpus(root, megabytes=size, novel=novel) for size in sorted({*sizes, compare})}
    config = TokenizerConfig(vocabulary=_VOCABULARY)
    tokenizer = tokenizer_stage(corpora[min(corpora)], config, fields=("text",), template=_TEMPLATE, root=root)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    ours_alone: dict[float, list[dict[str, float]]] = {size: [] for size in sizes}
    for _ in track(range(rounds), label="rounds"):
        for name, found in runs.items():
            found.append(start(name, corpora[compare], tokenizer))
        for size, found in ours_alone.items():
            found.append(start("ours", corpora[size], tokenizer))
    counts = {name: runs[name][0]["tokens"] for name in CONTENDERS}
    if not counts["ours"] == counts["encode_batch_fast"] == counts["datasets_map"]:
        raise ValueError(f"the contenders did not do the same work: {counts} tokens")
    results = {name: summary(found, megabytes=compare) for name, found in runs.items()}
    ratio = {name: round(results[name]["seconds"] / results["ours"]["seconds"], 2) for name in CONTENDERS}
    del ratio["ours"]
    growth = {f"{size:g}": summary(found, megabytes=size) for size, found in ours_alone.items()}
    return {"megabytes": compare, "results": results, "ratio": ratio, "ours_by_megabytes": growth}


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenize", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, by turns")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1.0, 10.0, 100.0], help="sizes for ours alone")
    parser.add_argument("--compare", type=float, default=10.0, help="MB of text for ours beside the others")
    parser.add_argument("--novel", type=float, default=0.02, help="share of words that stand nowhere else")
    parser.add_argument("--only", nargs=3, metavar=("NAME", "CORPUS", "TOKENIZER"), help="one run, in this process")
    options = parser.parse_args()
    if options.only:
        name, corpus, tokenizer = options.only
        print(json.dumps(run_one(name, Path(corpus), Path(tokenizer))))
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            Path(folder),
            sizes=options.megabytes,
            compare=options.compare,
            rounds=options.rounds,
            novel=options.novel,
        )
    print(json.dumps({"benchmark": "tokenize", "rounds": options.rounds, "novel": options.novel, **found}))


if __name__ == "__main__":
    main()
