"""Copies of registered models on this machine: whole, or fetched again."""

from __future__ import annotations

import logging
from pathlib import Path
from threading import Barrier, Thread

import pytest

from llm.errors import ChecksumError
from tasks.registry.folders import champion_folder

WEIGHTS = "model.safetensors"


@pytest.mark.parametrize("damage", ["flipped", "empty", "missing"])
def test_a_copy_that_was_damaged_is_fetched_again_and_told(
    registered, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    version = registered("k1")
    weights = champion_folder(version) / WEIGHTS
    if damage == "missing":
        weights.unlink()
    else:
        weights.write_bytes(b"kX" if damage == "flipped" else b"")
    with caplog.at_level(logging.WARNING):
        assert (champion_folder(version) / WEIGHTS).read_bytes() == b"k1"
    assert f"the copy in {weights.parent} is fetched again" in caplog.text


def test_a_copy_that_is_whole_is_not_fetched_again(registered, home: Path) -> None:
    version = registered("k1")
    folder = champion_folder(version)
    for stored in (home / "mlflow" / "artifacts").rglob(WEIGHTS):
        stored.unlink()
    assert champion_folder(version) == folder


def test_a_damaged_copy_of_a_damaged_version_is_refused(registered, home: Path) -> None:
    version = registered("k1")
    for stored in [champion_folder(version) / WEIGHTS, *(home / "mlflow" / "artifacts").rglob(WEIGHTS)]:
        stored.write_bytes(b"kX")
    with pytest.raises(ChecksumError, match=r"SHA-256 of model\.safetensors"):
        champion_folder(version)


def test_two_that_fetch_at_once_both_get_the_whole_folder(registered) -> None:
    version = registered("k1")
    together = Barrier(2)
    found: list[list[str]] = []

    def fetch() -> None:
        together.wait()
        found.append(sorted(str(path.name) for path in champion_folder(version).rglob("*")))

    threads = [Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert WEIGHTS in found[0]
