"""Large files in pieces: cut where a record may end, numbered by their first line, and stable while the file grows."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from llm import pieces
from llm.pieces import pieces_of

LINE = re.compile(rb"\n")
BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SIZE", 100)
    monkeypatch.setattr(pieces, "_CHUNK", 16)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_pieces_follow_each_other_end_with_a_line_and_know_the_number_of_their_first(
    tmp_path: Path, end: bytes
) -> None:
    data = b"".join(b"line %d%b" % (number, end) for number in range(1, 101)) + b"no end"
    found = pieces_of(written(tmp_path, data), LINE)
    assert [piece.start for piece in found] == [0, *(piece.end for piece in found[:-1])]
    assert found[-1].end == len(data)
    for piece in found:
        part = data[piece.start : piece.end]
        assert part.startswith(b"line %d%b" % (piece.line, end))
        assert piece.sha256 == hashlib.sha256(part).hexdigest()
        assert piece is found[-1] or (part.endswith(b"\n") and 80 <= len(part) <= 120)


def test_a_carriage_return_alone_ends_a_line_and_one_across_two_reads_is_counted_once(tmp_path: Path) -> None:
    # The 16th byte is the carriage return, and the line feed opens the next read.
    data = (b"x" * 15 + b"\r\n" + b"a\rb\r" + b"y" * 90 + b"\n") * 2
    first, second = pieces_of(written(tmp_path, data), LINE)
    assert (first.line, second.line) == (1, 5)


def test_paragraphs_are_not_parted(tmp_path: Path) -> None:
    data = b"".join(b"a paragraph\nof two lines\n \t\r\n" for _ in range(20))
    found = pieces_of(written(tmp_path, data), BLANK_LINE)
    assert len(found) > 2
    assert all(data[piece.start :].startswith(b"a paragraph") for piece in found)


def test_a_file_that_grew_keeps_its_pieces_but_the_last(tmp_path: Path) -> None:
    data = b"".join(b"line %d\n" % number for number in range(100))
    before = pieces_of(written(tmp_path, data), LINE)
    after = pieces_of(written(tmp_path, data + data), LINE)
    assert after[: len(before) - 1] == before[:-1]
    assert after[len(before) - 1] != before[-1]


@pytest.mark.parametrize("data", [b"", b"short\n" * 16, b"x" * 1000, b"x" * 1000 + b"\n"])
def test_what_is_small_or_a_single_line_is_not_cut(tmp_path: Path, data: bytes) -> None:
    assert pieces_of(written(tmp_path, data), LINE) == []


def test_a_long_line_belongs_to_one_piece(tmp_path: Path) -> None:
    data = b"a\n" * 30 + b"x" * 500 + b"\n" + b"b\n" * 60
    found = pieces_of(written(tmp_path, data), LINE)
    assert [(piece.start, piece.line) for piece in found] == [(0, 1), (561, 32), (601, 52)]


def test_of_a_huge_file_the_pieces_are_larger_and_not_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST", 3)
    found = pieces_of(written(tmp_path, b"line\n" * 200), LINE)
    assert [piece.end - piece.start for piece in found] == [405, 400, 195]
