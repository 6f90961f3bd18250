"""Old downloads of remote files: told by their last use, removed, and fetched again when something needs them."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import filelock
import pytest
from remote_sites import TRUSTED, Page, Site, kept

from llm.batch_prediction.config import BatchConfig
from llm.batch_prediction.sources import find_source
from llm.corpora import remote
from llm.corpora.remote import fetch, find_remote
from llm.corpora.unused_downloads import remove_downloads, unused_downloads
from llm.removal import Unused

pytestmark = pytest.mark.usefixtures("no_proxy")


def download(site: Site, downloads: Path, version: str = "one") -> Path:
    site.pages["/a.txt"] = Page(version.encode(), headers={"ETag": f'"{version}"'})
    return fetch(*find_remote(site.url("/a.txt"), TRUSTED), access=TRUSTED, downloads=downloads)


def age(path: Path) -> None:
    os.utime(path.parent, (0, 0))


def found(downloads: Path) -> list[Unused]:
    return unused_downloads(downloads, since=datetime.now(UTC) - timedelta(days=30))


def removed(downloads: Path) -> list[Path]:
    return [one.path for one in remove_downloads(found(downloads), downloads=downloads)]


def test_a_version_that_nothing_uses_goes_with_its_lock_file_and_the_other_stays(site: Site, downloads: Path) -> None:
    first, second = download(site, downloads), download(site, downloads, "second")
    age(first)
    assert [one.bytes for one in found(downloads)] == [3]
    assert removed(downloads) == [first.parent]
    assert kept(downloads) == [second]
    locks = {path.name for path in downloads.glob("remote/.*.lock")}
    assert locks == {f".{second.parent.name}.lock", ".pruning.lock"}


def test_what_is_used_again_is_young_again_and_what_was_removed_is_fetched_again(site: Site, downloads: Path) -> None:
    path = download(site, downloads)
    age(path)
    download(site, downloads)
    assert found(downloads) == []
    age(path)
    assert removed(downloads) == [path.parent]
    assert download(site, downloads).read_bytes() == b"one"
    assert site.count("GET") == 2


def test_what_is_being_downloaded_stays(site: Site, downloads: Path) -> None:
    path = download(site, downloads)
    age(path)
    with filelock.FileLock(path.parent.with_name(f".{path.parent.name}.lock")):
        assert removed(downloads) == []
    assert path.exists()


def test_a_folder_that_goes_just_before_a_download_has_its_lock_is_made_again(
    site: Site, downloads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = download(site, downloads)

    def lock(*arguments: Any) -> filelock.FileLock:
        shutil.rmtree(path.parent)
        return filelock.FileLock(*arguments)

    monkeypatch.setattr(remote, "FileLock", lock)
    assert download(site, downloads).read_bytes() == b"one"


def test_the_input_of_a_batch_prediction_stays_as_long_as_its_process_lives(
    site: Site, downloads: Path, tmp_path: Path
) -> None:
    path = download(site, downloads)
    config = BatchConfig(input=site.url("/a.txt"), output=str(tmp_path / "out.jsonl"), remote=TRUSTED)
    source = find_source(config, downloads=downloads)
    age(path)
    assert removed(downloads) == []
    assert [row["text"] for row in source.table(tmp_path).rows() if isinstance(row, dict)] == ["one"]


def test_wheels_of_built_in_corpora_stay(downloads: Path) -> None:
    wheel = downloads / "plays-1.0-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    for path in (wheel, downloads):
        os.utime(path, (0, 0))
    assert removed(downloads) == []
    assert kept(downloads) == [wheel]
