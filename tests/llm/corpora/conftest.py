"""A wheel small enough to read in a test: a real zip file, in a downloads folder, pinned by its real checksum."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from llm.corpora.package_archive import PackageArchive
from llm.files import sha256_of

MakeWheel = Callable[[str, Mapping[str, str | bytes]], PackageArchive]


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder


@pytest.fixture
def make_wheel(downloads: Path) -> MakeWheel:
    def make(package: str, files: Mapping[str, str | bytes]) -> PackageArchive:
        path = downloads / f"{package}-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return PackageArchive(package=package, version="1.0", sha256=sha256_of(path))

    return make
