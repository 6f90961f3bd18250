"""Remembered checksums: right whatever happens to a file, and no second reading of one that did not change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm.checksums import ChecksumCache
from llm.files import sha256_of

HOUR = 3_600_000_000_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text("one")
    age(path)
    return path


def age(path: Path, hours: int = 2) -> None:
    """Set the time of change back."""
    time = path.stat().st_mtime_ns - hours * HOUR
    os.utime(path, ns=(time, time))


def remembered(tmp_path: Path) -> ChecksumCache:
    return ChecksumCache(tmp_path / "cache" / "checksums.json")


def test_a_file_that_did_not_change_is_not_read_again(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = remembered(tmp_path)
    expected = sha256_of(file)
    assert first.of(file) == expected
    first.save()
    monkeypatch.setattr("llm.checksums.sha256_of", lambda path: pytest.fail(f"{path} is read again"))
    assert remembered(tmp_path).of(file) == expected


@pytest.mark.parametrize("text", ["two", "longer"])
def test_a_changed_file_is_read_again(file: Path, tmp_path: Path, text: str) -> None:
    cache = remembered(tmp_path)
    cache.of(file)
    file.write_text(text)
    assert cache.of(file) == sha256_of(file)


def test_another_file_of_the_same_size_and_time_in_its_place_is_read(file: Path, tmp_path: Path) -> None:
    cache = remembered(tmp_path)
    cache.of(file)
    other = tmp_path / "b.txt"
    other.write_text("two")
    time = file.stat().st_mtime_ns
    os.utime(other, ns=(time, time))
    other.replace(file)
    assert cache.of(file) == sha256_of(file)


def test_a_file_changed_just_now_is_not_remembered(file: Path, tmp_path: Path) -> None:
    file.write_text("one")
    cache = remembered(tmp_path)
    cache.of(file)
    cache.save()
    assert not (tmp_path / "cache" / "checksums.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_damaged_cache_is_begun_anew(file: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "cache" / "checksums.json"
    path.parent.mkdir()
    path.write_text(content)
    cache = remembered(tmp_path)
    assert cache.of(file) == sha256_of(file)
    cache.save()
    assert remembered(tmp_path).of(file) == sha256_of(file)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remembered(tmp_path).of(tmp_path / "none.txt")
