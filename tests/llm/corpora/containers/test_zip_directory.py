"""The directory of a zip archive: its wide forms are read, and one that does not fit the members is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from zip_bytes import (
    CENTRAL,
    CENTRAL_SIZES,
    CENTRAL_START,
    END,
    FILES,
    LOCAL,
    LOCAL_SIZES,
    entry,
    nth,
    with_zip64,
    write,
    zipped,
)

from llm.corpora.archives import streams
from llm.errors import CorpusError

ReadAll = Callable[[Path], dict[str, bytes]]
Refusal = Callable[[Path], str]


def test_the_wide_forms_of_headers_are_read(tmp_path: Path, read_all: ReadAll) -> None:
    data = zipped(("a", b"12345"), ("b", b"6789"))
    assert read_all(write(tmp_path, with_zip64(data, count=2))) == {"a": b"12345", "b": b"6789"}
    # The second entry's sizes and place as 8 bytes each, between fields of another kind.
    at, end = nth(data, CENTRAL, 1), data.rindex(END)
    crc, packed, size = struct.unpack_from("<3L", data, at + CENTRAL_SIZES)
    (start,) = struct.unpack_from("<L", data, at + CENTRAL_START)
    other = struct.pack("<2H4s", 0xCAFE, 4, b"skip")
    extra = other + struct.pack("<2H3Q", 1, 24, size, packed, start) + other
    struct.pack_into("<3LHH", data, at + CENTRAL_SIZES, crc, 0xFFFFFFFF, 0xFFFFFFFF, 1, len(extra))
    struct.pack_into("<L", data, at + CENTRAL_START, 0xFFFFFFFF)
    (length,) = struct.unpack_from("<L", data, end + 12)
    struct.pack_into("<L", data, end + 12, length + len(extra))
    assert read_all(write(tmp_path, data[:end] + extra + data[end:])) == {"a": b"12345", "b": b"6789"}
    far = extra[:28] + struct.pack("<Q", 1 << 63) + other
    path = write(tmp_path, data[:end] + far + data[end:])
    assert "begins behind the last byte of the members" in refusal_of_next(path)
    # Half of the field is not enough.
    struct.pack_into("<2H", data, at + 28, 1, 8 + 4 + 20)
    assert "a zip64 field is missing" in refusal_of_next(write(tmp_path, data[:end] + extra + data[end:]))


def refusal_of_next(path: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        next(streams(path))
    return caught.value.problem


def test_two_members_of_one_header_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(("a", b"1"), ("b", b"2"))
    struct.pack_into("<L", data, nth(data, CENTRAL, 1) + CENTRAL_START, 0)
    assert refusal(write(tmp_path, data)) == (
        "member 'b': begins within the bytes of another member, and each needs its own"
    )


def test_a_member_within_another_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    # The outer one holds, as its content, the header and the content of the inner one.
    inner = zipped((entry("inner", method=zipfile.ZIP_STORED), b"text" * 10))
    inner = inner[: inner.index(CENTRAL)]
    data = zipped((entry("outer", method=zipfile.ZIP_STORED), bytes(inner)), (entry("inner", method=0), b"text" * 10))
    at = nth(data, LOCAL, 1)
    struct.pack_into("<L", data, nth(data, CENTRAL, 1) + CENTRAL_START, at)
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        assert archive.read("inner") == b"text" * 10
    assert "member 'inner': begins within the bytes of another member" in refusal(write(tmp_path, data))


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped((entry("a", method=zipfile.ZIP_STORED), b"12345"))
    for at in (nth(data, LOCAL, 0) + LOCAL_SIZES, nth(data, CENTRAL, 0) + CENTRAL_SIZES):
        struct.pack_into("<2L", data, at + 4, 6, 6)
    assert refusal(write(tmp_path, data)) == "member 'a': reaches into the directory of the archive"


@pytest.mark.parametrize("start", [1, 70, 1 << 31])
def test_a_member_that_is_not_where_the_directory_says_is_refused(tmp_path: Path, refusal: Refusal, start: int) -> None:
    data = zipped(("a", b"12345"))
    struct.pack_into("<L", data, nth(data, CENTRAL, 0) + CENTRAL_START, start)
    assert refusal(write(tmp_path, data)).startswith("member 'a': is damaged: ")


@pytest.mark.parametrize(("at", "value"), [(30, ord("b")), (8, zipfile.ZIP_STORED)])
def test_a_header_with_another_name_or_method_is_refused(tmp_path: Path, refusal: Refusal, at: int, value: int) -> None:
    data = zipped(("a", b"12345"))
    data[at] = value
    assert "its header and the directory of the archive differ" in refusal(write(tmp_path, data))


def test_a_million_entries_are_refused_unread(tmp_path: Path, refusal: Refusal) -> None:
    # The directory that is announced is not there: whoever wanted to read it would say so.
    data = with_zip64(zipped(("a", b"1")), count=1_000_000)
    assert refusal(write(tmp_path, data)) == "holds more than 100,000 entries"


def test_a_million_entries_announced_as_one_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    # The least entry of a directory has 46 bytes and no name; zipfile goes by the length and reads them all.
    data = bytes(zipped(("a", b"1")))
    start, end = data.index(CENTRAL), data.rindex(END)
    directory = data[start:end] + struct.pack("<4s42x", CENTRAL) * 1_000_000
    record = struct.pack("<4s4H2LH", END, 0, 0, 1, 1, len(directory), start, 0)
    assert refusal(write(tmp_path, data[:start] + directory + record)) == (
        "is damaged: its directory holds more than the 1 entries that it states"
    )


def test_fewer_entries_than_announced_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(("a", b"1"))
    struct.pack_into("<2H", data, data.rindex(END) + 8, 2, 2)
    assert refusal(write(tmp_path, data)) == "is damaged: entry 2 of 2 is missing in its directory"


def test_a_name_that_reaches_behind_the_directory_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(("a", b"1"))
    struct.pack_into("<H", data, nth(data, CENTRAL, 0) + 28, 9)
    assert refusal(write(tmp_path, data)) == "is damaged: entry 1 of 1 is cut short in its directory"


def test_a_directory_that_begins_before_the_file_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(("a", b"1"))
    struct.pack_into("<L", data, data.rindex(END) + 12, 5_000)
    assert refusal(write(tmp_path, data)) == "is damaged: its directory would begin before the file does"
    assert "would begin before" in refusal(write(tmp_path, with_zip64(zipped(("a", b"1")), count=1, length=1 << 60)))


def test_a_wide_end_record_that_is_missing_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = with_zip64(zipped(("a", b"1")), count=1).replace(b"PK\6\6", b"PK\6\5")
    assert refusal(write(tmp_path, data)) == "is damaged: its zip64 end record is missing"


@pytest.mark.parametrize("kept", [0, 10, 500, -1, -22])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, refusal: Refusal, kept: int) -> None:
    problem = refusal(write(tmp_path, zipped(*FILES.items())[:kept]))
    assert problem == "is damaged: it has no end record, as if it were cut short or no zip file"


def test_bytes_behind_the_end_are_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert refusal(write(tmp_path, zipped(("a", b"1")) + b"\n")) == "is damaged: its end record is not at its end"


def test_a_part_of_a_split_archive_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(("a", b"1"))
    struct.pack_into("<2H", data, data.rindex(END) + 4, 1, 0)
    assert refusal(write(tmp_path, data)) == "is one of several files that make up an archive"
