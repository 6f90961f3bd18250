"""With what something was made: Python, system, processor, packages and code; and what of it is another by now."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llm.corpora.base import short_hash
from llm.files import canonical_json, sha256_of

# Those whose code decides what is read, kept, tokenized or computed; the ones that are not installed are left out.
PACKAGES = (
    "ctranslate2",
    "datasets",
    "fsspec",
    "ftfy",
    "lxml",
    "numpy",
    "orjson",
    "pandas",
    "phonenumbers",
    "polib",
    "py3langid",
    "pyarrow",
    "rensa",
    "sacrebleu",
    "safetensors",
    "scikit-learn",
    "scipy",
    "sqlalchemy",
    "tokenizers",
    "torch",
    "transformers",
    "xxhash",
    "zstandard",
)
# Where a training keeps it, and its MLflow run.
ENVIRONMENT_FILE = "environment.json"
_GIT_TIMEOUT_S = 20
_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Difference:
    """Something of an environment that was another then: `then` and `now`, in words."""

    name: str
    then: str
    now: str


def environment(*, threads: int, products: str, device: str) -> dict[str, Any]:
    """This process's environment as JSON values, with what a training in it computes with."""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "threads": threads,
        "products": products,
        "device": device,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "code": {**git_state(), "llm": code_of(_PACKAGE)},
        # Relative paths of a recipe begin here.
        "folder": str(Path.cwd()),
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """What differs between two environments and may decide what a training ends in.

    The same code in another commit, and another folder, decide nothing.
    """
    found = [*_differences(_without_code(then), _without_code(now))]
    if then.get("code", {}).get("llm") != now["code"]["llm"]:
        found.append(Difference("code", _commit(then.get("code", {})), _commit(now["code"])))
    return found


def git_state() -> dict[str, Any]:
    """The commit of the code that runs, and whether files differ from it; nothing where the code is not under git.

    An installed copy may lie inside somebody else's repository, so git must know our own package.
    """
    if _git("ls-files", "--error-unmatch", str(_PACKAGE / "__init__.py")) is None:
        return {}
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "uncommitted_changes": bool(changes)}


def code_of(*folders: Path) -> str:
    """A hash of the Python code in the folders of some packages."""
    files = {f"{folder.name}/{path.relative_to(folder)}": path for folder in folders for path in folder.rglob("*.py")}
    return short_hash(canonical_json({name: sha256_of(path) for name, path in files.items()}))


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys([*then, *now]):
        before, after = then.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after)
        elif before != after:
            yield Difference(name, *("none" if value is None else str(value) for value in (before, after)))


def _without_code(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in environment.items() if name not in ("code", "folder")}


def _commit(code: Mapping[str, Any]) -> str:
    commit = f"commit {code['commit'][:12]}" if "commit" in code else "no commit"
    changed = " and uncommitted changes" if code.get("uncommitted_changes") else ""
    return f"{commit}{changed} (llm/ hashes to {code.get('llm', 'unknown')})"


def _processor() -> str:
    """The processor as Linux calls it, and the instructions that torch uses on it."""
    import torch  # here: what only describes a recorded environment needs no torch

    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git answers about the folder of our code, or None when it cannot."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
