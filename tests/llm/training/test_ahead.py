"""Items made ahead are the same items, and nothing is left running."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from llm.training.ahead import ahead


def test_all_items_come_in_order() -> None:
    assert list(ahead(iter(range(5)))) == [0, 1, 2, 3, 4]


def test_the_next_item_is_made_while_one_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    first = ahead(items())
    assert next(first) == 1
    assert made.wait(timeout=30)
    first.close()


def test_an_error_is_raised_where_its_item_would_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no more text")

    coming = ahead(items())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="no more text"):
        next(coming)


def test_closing_ends_the_thread() -> None:
    coming = ahead(iter(range(100)))
    next(coming)
    assert any(thread.name.startswith("ahead") for thread in threading.enumerate())
    coming.close()
    assert not any(thread.name.startswith("ahead") for thread in threading.enumerate())
