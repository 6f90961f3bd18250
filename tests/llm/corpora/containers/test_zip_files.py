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
from zip_bytes import CENTRAL, CENTRAL_FLAGS, CENTRAL_SIZES, END, FILES, LOCAL, LOCAL_SIZES, entry, nth, write, zipped

from llm.corpora.archives import streams

ReadAll = Callable[[Path], dict[str, bytes]]
Refusal = Callable[[Path], str]


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
