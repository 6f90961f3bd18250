"""Model folders of registered versions: pulled once, and checked against what was registered."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress
from pathlib import Path

from filelock import FileLock
from mlflow.artifacts import download_artifacts

from llm.errors import ChecksumError
from llm.files import fsync_folder, fsync_tree, sha256_of, temporary_folder
from llm.home import home
from llm.use import held
from tasks.registry.connection import client, registry_errors
from tasks.registry.logged_model import MODEL_PATH
from tasks.registry.patience import patiently
from tasks.registry.versions import Version

log = logging.getLogger(__name__)


def download_model_folder(version: Version, destination: Path) -> Path:
    """Fetch a version's Hugging Face folder to `destination`, where it appears whole, checked and durable.

    One that is there already, because another process was faster, stays.

    Raises ChecksumError when a file is not the one that was registered, RegistryError when there are none.
    """
    with temporary_folder(destination.parent, prefix=".download-") as temporary:
        folder = _download(version, f"{version.uri}/{MODEL_PATH}", Path(temporary))
        verify(folder, version)
        fsync_tree(folder)
        try:
            folder.rename(destination)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    fsync_folder(destination.parent)
    return destination


def download_logged_model(version: Version, destination: Path) -> Path:
    """Fetch all that MLflow keeps of a version (code, signature, Hugging Face folder) into the folder `destination`.

    Raises ChecksumError when a file is not the one that was registered, RegistryError when there are none.
    """
    folder = _download(version, version.uri, destination)
    verify(folder / MODEL_PATH, version)
    return folder


def download_as_it_is(version: Version, destination: Path) -> tuple[Path, str | None]:
    """A version's Hugging Face folder in the folder `destination`, and what is wrong with it (None: nothing).

    Raises RegistryError when there is none.
    """
    folder = _download(version, f"{version.uri}/{MODEL_PATH}", destination)
    try:
        verify(folder, version)
    except ChecksumError as error:
        return folder, error.problem
    return folder, None


def verify(folder: Path, version: Version) -> None:
    """Raise ChecksumError unless every registered file of the Hugging Face folder is there and is what it was."""
    for name, expected in version.files.items():
        path = folder / name
        found = sha256_of(path) if path.is_file() else "missing"
        if found != expected:
            raise ChecksumError(
                f"{version.uri}: SHA-256 of {name} is {found}, but {expected} was registered",
                remedy="the artifacts were damaged or changed: restore them, or promote another version",
            )


def _download(version: Version, uri: str, destination: Path) -> Path:
    with registry_errors(f"downloading {version.family} version {version.version}"):
        client()
        return Path(patiently(lambda: download_artifacts(artifact_uri=uri, dst_path=str(destination))))


def champion_folder(version: Version) -> Path:
    """The Hugging Face folder of a version under our home: fetched once, checked each time, and mended.

    A copy is damaged by a power cut or a disk, and weights with a flipped bit load without a word: the champion would
    answer worse, and lose to a worse challenger. It is not removed as unused while this process lives.

    Raises what `download_model_folder` raises.
    """
    folder = home() / "champions" / version.family / version.training_key
    return held(lambda: _whole_copy(version, folder))


def _whole_copy(version: Version, folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Two that find it damaged must not remove what the other has just fetched.
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if folder.exists():
            try:
                verify(folder, version)
                return folder
            except ChecksumError as error:
                log.warning("%s: the copy in %s is fetched again", error.problem, folder)
            with temporary_folder(folder.parent, prefix=".damaged-") as aside, suppress(FileNotFoundError):
                folder.rename(Path(aside) / folder.name)  # unless it was just removed, as unused
        return download_model_folder(version, folder)
