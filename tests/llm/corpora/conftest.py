"""What corpora are read from in tests: a real wheel pinned by its real checksum, and real web servers on loopback."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from remote_sites import Site

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


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    sites: list[tuple[Site, threading.Thread]] = []

    def make() -> Site:
        site = Site()
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        sites.append((site, thread))
        return site

    yield make
    for site, thread in sites:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    return make_site()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write
