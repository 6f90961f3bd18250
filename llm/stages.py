"""Content-addressed stage folders: the same inputs and options give the same folder, so a re-run costs nothing.

A stage's key hashes its inputs' keys, its own config and its code version. The folder is built under a hidden name in
the same place, fsynced and renamed, so a folder that has its final name is whole. `manifest.json` in it holds what went
in, what came out, and the SHA-256 of every file; lineage is a walk over manifests.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from llm.config import Config
from llm.errors import StageError
from llm.files import canonical_json, fsync_folder, fsync_tree, read_json, sha256_of, storing, write_json
from llm.memory import allocating
from llm.use import note_use

MANIFEST = "manifest.json"
# Before the name of a folder that is not finished.
PARTIAL = ".partial-"
_KEY_LENGTH = 16
_NAME = re.compile(r"[\w-][\w.-]*")
_LOCK_TIMEOUT_S = 6 * 3600
# Stages of seconds come and go without a word.
_SILENT_S = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """A finished stage folder. `reused` is true when this run did not have to build it."""

    name: str
    key: str
    path: Path
    manifest: dict[str, Any]
    reused: bool

    @property
    def facts(self) -> dict[str, Any]:
        """What the builder reported: counts, sizes, metrics."""
        facts: dict[str, Any] = self.manifest["facts"]
        return facts


@dataclass(frozen=True)
class StageSpec:
    """What identifies a stage. Raise `version` whenever the code writes something else for the same input."""

    name: str
    version: int
    config: Config | Mapping[str, Any]
    inputs: Mapping[str, Stage | str]
    # A resumable stage finds its half-built folder again after a crash (training); the others start clean.
    resumable: bool = False
    # A folder that only a build which goes on needs (checkpoints): no part of the stage, and gone once that is there.
    scratch: str | None = None

    @property
    def config_values(self) -> dict[str, Any]:
        """The config as JSON values."""
        return self.config.model_dump(mode="json") if isinstance(self.config, Config) else dict(self.config)

    @property
    def input_keys(self) -> dict[str, str]:
        """The inputs' keys by name."""
        return {name: stage.key if isinstance(stage, Stage) else stage for name, stage in self.inputs.items()}

    @property
    def key(self) -> str:
        """Name of the folder."""
        identity = {
            "stage": self.name,
            "version": self.version,
            "config": self.config_values,
            "inputs": self.input_keys,
        }
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()[:_KEY_LENGTH]


@dataclass(frozen=True)
class Built:
    """What a builder reports, with the SHA-256 of files, by name, that it took while it wrote them."""

    facts: Mapping[str, Any]
    sums: Mapping[str, str]


Build = Callable[[Path], Mapping[str, Any] | Built]


def run_stage(spec: StageSpec, build: Build, *, root: Path) -> Stage:
    """Return the stage's folder under `root/<name>/<key>`, building it with `build(folder) -> facts` if it is missing.

    Two processes that want the same stage build it once: the second waits for the first. When `build` raises, nothing
    gets the final name.

    Raises StageError when the folder cannot be locked, or an existing one is damaged, StorageError when the disk is
    full or fails, MemoryShortageError when memory runs out.
    """
    parent = root / spec.name
    final = parent / spec.key
    if (final / MANIFEST).exists():
        with suppress(FileNotFoundError):  # it was old, and is being removed: it is built again
            return _reused(spec, final)
    with storing(parent):
        parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_of(parent, spec.key))
    try:
        with allocating(spec.name), storing(final), _in_turn(lock, final):
            if (final / MANIFEST).exists():
                return _reused(spec, final)
            _build(spec, build, final=final)
    except Timeout:
        raise StageError(
            f"{final}: another process has been building this stage for {_LOCK_TIMEOUT_S // 3600} hours",
            remedy="stop that process, or wait for it",
        ) from None
    return open_stage(final, reused=False)


@contextmanager
def _in_turn(lock: FileLock, final: Path) -> Iterator[None]:
    try:
        lock.acquire(timeout=_SILENT_S)
    except Timeout:
        log.info("another process builds %s: this one waits for it", final)
        lock.acquire(timeout=_LOCK_TIMEOUT_S)
    try:
        yield
    finally:
        lock.release()


def lock_of(parent: Path, key: str) -> Path:
    """The lock file that whoever builds or removes the stage `parent/key` holds."""
    return parent / f".{key}.lock"


def _reused(spec: StageSpec, final: Path) -> Stage:
    note_use(final / MANIFEST)
    if spec.scratch is not None and (final / spec.scratch).exists():
        # Whoever built it was killed just after the folder had got its name.
        shutil.rmtree(final / spec.scratch, ignore_errors=True)
    return open_stage(final, reused=True)


def _build(spec: StageSpec, build: Build, *, final: Path) -> None:
    partial = final.with_name(f"{PARTIAL}{spec.key}")
    if partial.exists():
        _clear(partial, spec)
    partial.mkdir(exist_ok=True)
    started = time.monotonic()
    built = build(partial)
    if not isinstance(built, Built):
        built = Built(built, {})
    manifest = {
        "stage": spec.name,
        "key": spec.key,
        "version": spec.version,
        "config": spec.config_values,
        "inputs": spec.input_keys,
        "facts": dict(built.facts),
        "files": file_list(partial, known=built.sums, without=spec.scratch),
        "seconds": round(time.monotonic() - started, 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(partial / MANIFEST, manifest)
    fsync_tree(partial)
    os.replace(partial, final)
    fsync_folder(final.parent)
    if spec.scratch is not None:
        # Not before: a crash would find neither the stage nor what to go on from.
        shutil.rmtree(final / spec.scratch, ignore_errors=True)


def _clear(partial: Path, spec: StageSpec) -> None:
    """Remove what a crash left half-written, but for what a build goes on from."""
    if not spec.resumable:
        shutil.rmtree(partial)
    elif spec.scratch is not None:
        for path in partial.iterdir():
            if path.is_dir() and path.name != spec.scratch:
                shutil.rmtree(path)
            elif not path.is_dir():
                path.unlink()


def file_list(
    folder: Path, *, known: Mapping[str, str] | None = None, without: str | None = None
) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 (`known` by name, or taken) of every file under `folder` but the manifest.

    Nor is what lies in the folder `without` part of it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    names = {path.relative_to(folder).as_posix(): path for path in files}
    names = {name: path for name, path in names.items() if without is None or not name.startswith(f"{without}/")}
    return {
        name: {"bytes": path.stat().st_size, "sha256": (known or {}).get(name) or sha256_of(path)}
        for name, path in names.items()
    }


def open_stage(folder: Path, *, reused: bool = True) -> Stage:
    """Read a finished stage folder.

    Raises StageError when a file that its manifest names is missing or has another size (contents: `verify_stage`).
    """
    manifest = _checked(read_json(folder / MANIFEST), str(folder / MANIFEST))
    for name, entry in manifest["files"].items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            raise StageError(
                f"{path}: {'missing' if size is None else f'{size} bytes'}, but its manifest says {entry['bytes']}",
                remedy=f"delete {folder} and run again: the stage will be rebuilt",
            )
    return Stage(name=manifest["stage"], key=manifest["key"], path=folder, manifest=manifest, reused=reused)


def verify_stage(stage: Stage) -> None:
    """Compare every file's SHA-256 with the manifest.

    Raises StageError that names the first damaged file: safetensors itself loads a flipped bit without a word.
    """
    for name, entry in stage.manifest["files"].items():
        found = sha256_of(stage.path / name)
        if found != entry["sha256"]:
            raise StageError(
                f"{stage.path / name}: SHA-256 is {found}, but its manifest says {entry['sha256']}",
                remedy=f"delete {stage.path} and run again: the stage will be rebuilt",
            )


def restore_stage(manifest: Mapping[str, Any], write: Callable[[Path], None], *, root: Path) -> Stage:
    """Put back a stage of which the manifest was kept elsewhere: `write(folder)` writes its files.

    Raises StageError when they are not the files that the manifest names.
    """
    _checked(manifest, "the manifest that was kept")
    final = root / manifest["stage"] / manifest["key"]
    partial = final.with_name(f"{PARTIAL}{manifest['key']}")
    if partial.exists():  # a crash left it
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    write(partial)
    found = file_list(partial)
    for name in manifest["files"].keys() | found.keys():
        if found.get(name) != manifest["files"].get(name):
            raise StageError(
                f"{manifest['stage']} {manifest['key']}: {name} is not the file that its manifest names",
                remedy="it was made by another version of Nightshift: use that one",
            )
    write_json(partial / MANIFEST, dict(manifest))
    fsync_tree(partial)
    os.replace(partial, final)
    fsync_folder(final.parent)
    return open_stage(final)


def _checked(manifest: Any, where: str) -> dict[str, Any]:
    """The manifest; its names and its files' become paths, which must not lead out of their folder.

    Raises StageError.
    """
    try:
        names = [manifest["stage"], manifest["key"]]
        files = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in manifest["files"].items()}
        dict(manifest["facts"])
        wrong = [name for name in names if not _NAME.fullmatch(name)]
        wrong += [name for name in files if not _is_within(name)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"is no manifest of a stage ({type(error).__name__}: {error})"
    else:
        if not wrong:
            found: dict[str, Any] = manifest
            return found
        reason = f"names {wrong[0]!r:.80}, which leads out of its folder"
    raise StageError(f"{where}: {reason}", remedy="delete its folder and run again: the stage will be rebuilt")


def _is_within(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name
