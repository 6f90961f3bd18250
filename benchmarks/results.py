"""Run the benchmarks one after the other and write their figures, machine and configuration to a Markdown page."""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.race import machine

_DIGITS = 4  # significant ones in a table


def commands(options: argparse.Namespace) -> list[list[str]]:
    """Modules with their arguments; those that need data or a checkout that was not named are left out."""
    rounds = ["--rounds", str(options.rounds)]
    nanogpt = ["--nanogpt", options.nanogpt] if options.nanogpt else []
    joeynmt = ["--joeynmt", options.joeynmt] if options.joeynmt else []
    decode = ["--data", str(Path(options.data) / "multi30k-en-de")] if options.data else []
    found = [
        ["benchmarks.train_lm", "--size", "small", *rounds, *nanogpt],
        ["benchmarks.train_lm", "--size", "medium", *rounds, *nanogpt],
        ["benchmarks.scale", *rounds],
        ["benchmarks.decode", *rounds, *decode],
        ["benchmarks.tokenize", *rounds],
    ]
    if options.data:
        data = Path(options.data)
        multi30k = str(data / "multi30k-en-de")
        found += [
            ["benchmarks.train_translation", "--data", multi30k, *rounds, *joeynmt],
            ["benchmarks.train_classifier", "--data", str(data / "sst2"), *rounds],
            ["benchmarks.classify", "--data", str(data), "--encoder", "wheel"],
            ["benchmarks.multi30k", "--data", multi30k, "--minutes", str(options.minutes)],
        ]
        if nanogpt:
            found.append(["benchmarks.shakespeare", "--data", str(data / "tinyshakespeare/input.txt"), *nanogpt])
    return [command for command in found if not options.only or command[0].split(".")[1] in options.only]


def measure(command: Sequence[str]) -> dict[str, Any]:
    """The JSON line of one benchmark; what it says on the way is passed on."""
    print(f"{datetime.datetime.now():%H:%M:%S} {' '.join(command)}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def section(command: Sequence[str], found: Mapping[str, Any]) -> Iterator[str]:
    """Lines of one benchmark: a table of its figures, then everything as JSON."""
    # Folders are those of whoever measured.
    shown = [part if "/" not in part else f"`{Path(part).name}`" for part in command]
    yield f"\n## python -m {' '.join(shown)}\n"
    yield "| figure | value |\n| --- | --- |"
    for name, value in _flat(found):
        if not name.startswith(("config", "machine", "benchmark")):
            yield f"| {name} | {_short(value)} |"
    config = {key: value for key, value in found.get("config", {}).items() if "/" not in str(value)}
    yield f"\nConfiguration: `{json.dumps(config)}`"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name} / {key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value, start=1):
            yield from _flat(inner, f"{name} / {number}")
    else:
        yield name, value


def _short(value: Any) -> str:
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) and abs(value) < 10**_DIGITS else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page after every benchmark, so that a broken run keeps what it has."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__)
    parser.add_argument("out", type=Path, help="the page to write")
    parser.add_argument(
        "--data", default="", help="folder of the benchmark sets; without it, what needs them is left out"
    )
    parser.add_argument("--nanogpt", default="", help="folder of a checkout of karpathy/nanoGPT")
    parser.add_argument("--joeynmt", default="", help="folder of a checkout of joeynmt/joeynmt")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each race")
    parser.add_argument("--minutes", type=float, default=30.0, help="training time of multi30k")
    parser.add_argument("--only", nargs="+", default=[], help="names of benchmarks, without the package")
    options = parser.parse_args(arguments)
    facts = machine()
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        "# Results",
        "",
        f"{datetime.date.today()}, {facts['cores']} cores of {facts['processor']}, Python {facts['python']}.",
        f"Versions: {versions}.",
        "Written by `make bench`; what the figures mean is in README.md beside this page.",
    ]
    for command in commands(options):
        lines += section(command, measure(command))
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
