"""What the tests of all containers share: reading an archive whole, and the words with which it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm.corpora.archives import members, streams
from llm.errors import CorpusError

ReadAll = Callable[[Path], dict[str, bytes]]
Refusal = Callable[[Path], str]


def listing(folder: Path) -> list[tuple[Path, int]]:
    return sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))


@pytest.fixture
def read_all() -> ReadAll:
    """The content of each member by its name; writes nothing beside the archive."""

    def read_all(path: Path) -> dict[str, bytes]:
        before = listing(path.parent)
        found = {member.name: stream.read() for member, stream in streams(path)}
        assert {member.name: member.size for member in members(path)} == {n: len(data) for n, data in found.items()}
        assert listing(path.parent) == before
        return found

    return read_all


@pytest.fixture
def refusal() -> Refusal:
    """The problem that `members` and `streams` both raise, before anything comes out and with nothing written."""

    def refusal(path: Path) -> str:
        before = listing(path.parent)
        with pytest.raises(CorpusError) as caught:
            members(path)
        with pytest.raises(CorpusError) as again:
            next(streams(path))
        assert again.value.problem == caught.value.problem
        assert caught.value.problem.startswith(f"{path}: ")
        assert listing(path.parent) == before
        return caught.value.problem.removeprefix(f"{path}: ")

    return refusal
