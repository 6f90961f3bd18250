"""What `nightshift pull` does: a version's Hugging Face folder, checked, under the name that was asked for."""

from __future__ import annotations

import tempfile
from pathlib import Path

from llm.errors import StageError
from llm.files import fsync_folder, fsync_tree, sha256_of
from tasks.registry.folders import download_model_folder
from tasks.registry.moves import find_reference

SUMS_FILE = "SHA256SUMS"
CARD_FILE = "README.md"


def pull_version(family: str, reference: str, folder: Path) -> str:
    """Write the folder of a version (a number or an alias) to `folder`, which must be new or empty; tells what it did.

    It appears under its name when it is whole and checked, not before; the version's card is beside the model's files.

    Raises RegistryError when there is no such version, ChecksumError when its files are not those that were registered,
    StageError when `folder` cannot be written.
    """
    version = find_reference(family, reference)
    destination = folder.resolve()
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=".pull-") as temporary:
            whole = download_model_folder(version, Path(temporary) / "model")
            if version.description:
                (whole / CARD_FILE).write_text(version.description, encoding="utf-8")
            count = write_sums(whole)
            fsync_tree(whole)
            # Takes the place of an empty folder, and of nothing else.
            whole.rename(destination)
        fsync_folder(destination.parent)
    except OSError as error:
        raise StageError(f"{folder}: cannot be written ({error.strerror})", remedy="name another folder") from None
    checked = f"cd {folder} && sha256sum -c {SUMS_FILE}"
    return f"{family} version {version.version}: {count} files in {folder}\n- to check them again: {checked}"


def write_sums(folder: Path) -> int:
    """Write the SHA-256 of every file of a folder as `sha256sum -c` reads it; returns how many."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_of(folder / name)}  {name}\n" for name in names]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8")
    return len(names)
