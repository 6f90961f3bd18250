"""Copies of registered models on this machine: old ones go, but for those that an alias names or a process holds."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from llm.removal import Unused
from tasks.registry.folders import champion_folder
from tasks.registry.unused_copies import remove_copies, unneeded_copies


def old_copy(nightshift_home, key, family="translation"):
    folder = nightshift_home / "champions" / family / key
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"12345")
    os.utime(folder, (0, 0))
    return folder


def found(*keep: str) -> list[Unused]:
    return unneeded_copies(unused_since=datetime.now(UTC) - timedelta(days=30), keep=lambda: keep)


def test_old_copies_go_but_not_those_of_versions_with_an_alias(nightshift_home):
    old, kept = old_copy(nightshift_home, "k1"), old_copy(nightshift_home, "k2")
    assert [(one.path, one.bytes) for one in remove_copies(found("k2"))] == [(old, 5)]
    assert (old.exists(), kept.exists()) == (False, True)


def test_nobody_is_asked_for_aliases_where_no_copy_is_old(nightshift_home):
    os.utime(old_copy(nightshift_home, "k1"))
    since = datetime.now(UTC) - timedelta(days=30)
    assert unneeded_copies(unused_since=since, keep=lambda: pytest.fail("asked")) == []


def test_downloads_on_their_way_and_what_is_no_family_are_left_alone(nightshift_home):
    old_copy(nightshift_home, ".download-abc")
    old_copy(nightshift_home, "k1", family="notes")
    assert found() == []


def test_a_version_that_is_fetched_is_held_by_who_fetched_it_and_young_again(nightshift_home, bare_versions):
    [version] = bare_versions(1)
    folder = old_copy(nightshift_home, version.training_key)
    assert champion_folder(version) == folder
    assert found() == []
    os.utime(folder, (0, 0))
    assert len(found()) == 1
    assert remove_copies(found()) == []
    assert (folder / "model.safetensors").exists()
