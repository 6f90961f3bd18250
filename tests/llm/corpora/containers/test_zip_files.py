"""Zip archives: what zipfile writes comes back, and what zipfile would read in good faith is refused."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from llm.corpora.archives import streams
from llm.errors import CorpusError

ReadAll = Callable[[Path], dict[str, bytes]]
Refusal = Callable[[Path], str]

FILES = {
    "a.txt": b"first\n" * 100,
    "folder/b.txt": random.Random(1).randbytes(700_001) + bytes(700_000),
    "empty.txt": b"",
    "gr\u00fc\u00dfe.txt": b"last",
}
# Where fields stand in the local header, in the central one and in the end record.
LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"
LOCAL_SIZES, CENTRAL_FLAGS, CENTRAL_SIZES, CENTRAL_START = 14, 8, 16, 42


def entry(name: str, *, mode: int = 0, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr = mode << 16
    found.compress_type = method
    return found


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries:
            archive.writestr(entry(name) if isinstance(name, str) else name, data)
    return bytearray(file.getvalue())


def nth(data: bytes, magic: bytes, number: int) -> int:
    """Where the header of an entry is."""
    at = -1
    for _ in range(number + 1):
        at = data.index(magic, at + 1)
    return at


def write(folder: Path, data: bytes) -> Path:
    path = folder / "texts.zip"
    path.write_bytes(data)
    return path


def deflated(data: bytes) -> int:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return len(compressor.compress(data)) + len(compressor.flush())


class _Unseekable(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_files_come_back_in_order_and_folders_do_not(tmp_path: Path, read_all: ReadAll, method: int) -> None:
    folders = [(entry("folder/"), b""), (entry("bare", mode=stat.S_IFDIR | 0o755), b"")]
    files = [(entry(name, mode=stat.S_IFREG | 0o644, method=method), data) for name, data in FILES.items()]
    found = read_all(write(tmp_path, zipped(*folders, *files)))
    assert list(found.items()) == list(FILES.items())


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_odd_pieces_make_the_same_whole(tmp_path: Path, method: int) -> None:
    path = write(tmp_path, zipped(*((entry(name, method=method), data) for name, data in FILES.items())))
    for member, stream in streams(path):
        pieces = []
        while piece := stream.read(65_537):
            pieces.append(piece)
        assert b"".join(pieces) == FILES[member.name]


def test_lines_are_read_as_from_a_file(tmp_path: Path) -> None:
    each = streams(write(tmp_path, zipped(*FILES.items())))
    _, stream = next(each)
    assert list(stream) == [b"first\n"] * 100
    each.close()


def test_sizes_that_follow_the_content_are_read(tmp_path: Path, read_all: ReadAll) -> None:
    # As written by a program that could not go back: `zip - | ...`.
    file = _Unseekable()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    assert read_all(write(tmp_path, file.getvalue())) == FILES


def test_a_comment_and_bytes_before_the_archive_are_passed_over(tmp_path: Path, read_all: ReadAll) -> None:
    path = write(tmp_path, b"#!/bin/sh\n" * 50)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"a comment" * 7_000
        for name, data in FILES.items():
            archive.writestr(name, data)
    assert read_all(path) == FILES
    # Without a tool that corrects the offsets, too.
    assert read_all(write(tmp_path, b"stub" + zipped(*FILES.items()))) == FILES


def test_an_archive_without_entries_has_none(tmp_path: Path, read_all: ReadAll) -> None:
    assert read_all(write(tmp_path, zipped())) == {}


def with_zip64(data: bytes, *, count: int, length: int | None = None) -> bytes:
    """The archive with its end record in the wide form."""
    end = data.rindex(END)
    _, _, _, _, _, size, offset, _ = struct.unpack("<4s4H2LH", data[end:])
    length = size if length is None else length
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    return data[:end] + wide + locator + struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


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


@pytest.mark.parametrize("name", ["../a", "a/../../b", "a\\..\\b", "..", "../"])
def test_a_part_that_leads_up_is_refused(tmp_path: Path, refusal: Refusal, name: str) -> None:
    problem = refusal(write(tmp_path, zipped(("good", b"1"), (name, b""))))
    assert problem == f"member {name!r}: a name cannot hold the part '..'"


@pytest.mark.parametrize("name", ["/etc/passwd", "C:\\a", "c:a", "\\a", "\\\\server\\a"])
def test_an_absolute_name_is_refused(tmp_path: Path, refusal: Refusal, name: str) -> None:
    problem = refusal(write(tmp_path, zipped(("good", b"1"), (name, b"2"))))
    assert problem == f"member {name!r}: a name must be relative, without a root or a drive"


def test_a_name_with_a_nul_byte_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = bytes(zipped(("a.txt#.exe", b"1"))).replace(b"a.txt#", b"a.txt\0")
    assert refusal(write(tmp_path, data)) == "member 'a.txt\\x00.exe': a name cannot hold a NUL byte"


@pytest.mark.parametrize("second", ["a/b", "./a/b", "a//b", "a\\b"])
def test_two_files_of_one_name_are_refused(tmp_path: Path, refusal: Refusal, second: str) -> None:
    data = bytes(zipped(("a/b", b"1"), ("?" * len(second), b"2"))).replace(b"?" * len(second), second.encode())
    problem = refusal(write(tmp_path, data))
    assert problem == f"member {second!r}: two files have this name, and each needs its own"


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (stat.S_IFLNK, "is a symbolic link"),
        (stat.S_IFIFO, "is a device or the like"),
        (stat.S_IFCHR, "is a device or the like"),
        (stat.S_IFBLK, "is a device or the like"),
    ],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, refusal: Refusal, mode: int, words: str) -> None:
    problem = refusal(write(tmp_path, zipped(("good", b"1"), (entry("odd", mode=mode | 0o777), b"/etc/passwd"))))
    assert problem == f"member 'odd': {words}, and only regular files are read"


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_an_encrypted_member_is_refused(tmp_path: Path, refusal: Refusal, flag: int) -> None:
    data = zipped(("good", b"1"), ("secret", b"2"))
    struct.pack_into("<H", data, nth(data, CENTRAL, 1) + CENTRAL_FLAGS, flag)
    assert refusal(write(tmp_path, data)) == "member 'secret': is encrypted, and no password is asked for"
    struct.pack_into("<H", data, nth(data, CENTRAL, 1) + CENTRAL_FLAGS, 0)
    struct.pack_into("<H", data, nth(data, LOCAL, 1) + 6, flag)
    assert "its header and the directory of the archive differ" in refusal(write(tmp_path, data))


def test_a_patch_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(("a", b"1"))
    struct.pack_into("<H", data, nth(data, CENTRAL, 0) + CENTRAL_FLAGS, 0x20)
    assert refusal(write(tmp_path, data)) == "member 'a': is a patch of another file, which is not read"


def test_another_compression_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    # bzip2 turns 40 bytes into 45 million, in one piece.
    data = zipped((entry("a", method=zipfile.ZIP_BZIP2), b"1" * 1000))
    assert refusal(write(tmp_path, data)).startswith("member 'a': is compressed by method 12, and only 0 (stored)")


@pytest.mark.parametrize("others", [0, 3_000_000])
def test_a_bomb_is_refused(tmp_path: Path, refusal: Refusal, others: int) -> None:
    # Beside a large file, whose ratio is 1, the archive's as a whole is harmless.
    data = zipped(("large", random.Random(2).randbytes(others)), ("bomb", bytes(5_000_000)))
    problem = refusal(write(tmp_path, data))
    assert problem.startswith("member 'bomb': its 4,8")
    assert problem.endswith(" bytes hold more than 1,048,576, and 100 for 1 are the most above 1,048,576")


def test_many_small_bombs_are_one(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(*((f"{number}", bytes(1_000_000)) for number in range(20)))
    assert refusal(write(tmp_path, data)).startswith(f"its {len(data):,} bytes hold more than {100 * len(data):,}")


@pytest.mark.parametrize("where", ["directory", "both"])
@pytest.mark.parametrize("stated", [0, 1, 499, 501, 2_000])
def test_a_size_that_is_not_the_real_one_is_refused(tmp_path: Path, refusal: Refusal, stated: int, where: str) -> None:
    content = b"".join(b"%d," % number for number in range(1000))[:500]
    data = zipped(("good", b"1"), ("liar", content))
    # The checksum fits the size, so that nothing but the size tells.
    crc = zlib.crc32(content[:stated])
    headers = [nth(data, CENTRAL, 1) + CENTRAL_SIZES, nth(data, LOCAL, 1) + LOCAL_SIZES]
    for at in headers if where == "both" else headers[:1]:
        struct.pack_into("<L", data, at, crc)
        struct.pack_into("<L", data, at + 8, stated)
    problem = refusal(write(tmp_path, data))
    if where == "directory":
        assert problem.endswith("its header and the directory of the archive state other sizes or checksums")
    elif stated < 500:
        assert problem == f"member 'liar': holds more than the {stated} bytes that it states"
    else:
        assert problem == f"member 'liar': holds 500 bytes, but states {stated:,}"


def test_a_stored_size_that_is_not_the_real_one_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped((entry("liar", method=zipfile.ZIP_STORED), b"12345"))
    struct.pack_into("<L", data, nth(data, CENTRAL, 0) + CENTRAL_SIZES + 8, 50)
    assert refusal(write(tmp_path, data)) == "member 'liar': is stored as it is in 5 bytes, but states 50"


@pytest.mark.parametrize("aligned", [False, True])
def test_bytes_behind_the_content_of_a_member_are_refused(tmp_path: Path, refusal: Refusal, aligned: bool) -> None:
    # Aligned: the content ends with a piece of 64 KiB that is read at once, and the rest stays in the file.
    noise = random.Random(3).randbytes(1 << 16)
    length = next(n for n in range(65_500, 1 << 16) if deflated(noise[:n]) == 1 << 16) if aligned else 100
    data = zipped(("a", noise[:length]))
    (packed,) = struct.unpack_from("<L", data, nth(data, LOCAL, 0) + LOCAL_SIZES + 4)
    end = 30 + 1 + packed
    longer = bytearray(data[:end] + b"hidden" + data[end:])
    for at in (nth(longer, LOCAL, 0) + LOCAL_SIZES + 4, nth(longer, CENTRAL, 0) + CENTRAL_SIZES + 4):
        struct.pack_into("<L", longer, at, packed + 6)
    struct.pack_into("<L", longer, longer.rindex(END) + 16, longer.index(CENTRAL))
    assert refusal(write(tmp_path, longer)) == "member 'a': holds bytes behind the end of its content"


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


def test_a_flipped_bit_in_a_stored_member_is_found(tmp_path: Path, refusal: Refusal) -> None:
    data = zipped(("good", b"1"), (entry("a", method=zipfile.ZIP_STORED), b"12345"))
    data[data.index(b"12345")] ^= 1
    problem = refusal(write(tmp_path, data))
    assert problem == "member 'a': is damaged: its CRC-32 is " + f"{zlib.crc32(b'02345'):08x}, but cbf53a1c is stated"


def test_damage_within_a_deflated_member_is_found(tmp_path: Path, refusal: Refusal) -> None:
    content = b"".join(b"%d," % number for number in range(1000))
    whole = zipped(("a", content))
    start, length = 31, whole.index(CENTRAL) - 31
    # A block type that does not exist; then a stream that does not end.
    data = whole[:start] + b"\xff" + whole[start + 1 :]
    assert refusal(write(tmp_path, data)).startswith("member 'a': is damaged: Error -3 while decompressing")
    data = bytearray(whole)
    for at in (LOCAL_SIZES, nth(data, CENTRAL, 0) + CENTRAL_SIZES):
        struct.pack_into("<L", data, at + 4, length - 9)
    assert refusal(write(tmp_path, data)) == "member 'a': is damaged: it ends before its content does"
