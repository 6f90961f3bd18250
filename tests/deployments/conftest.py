"""What the tests of the command line share."""

from __future__ import annotations

import os

import pytest
from set_clock import Clock


@pytest.fixture
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that a command sets are gone after the test."""
    monkeypatch.setattr(os, "environ", dict(os.environ))


@pytest.fixture
def clock() -> Clock:
    return Clock()
