"""Tar archives read forwards: what tarfile writes comes back, and what leads astray is refused."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from llm.corpora.archives import streams
from llm.corpora.containers import limits
from llm.errors import CorpusError

ReadAll = Callable[[Path], dict[str, bytes]]
Refusal = Callable[[Path], str]

FILES = {
    "a.txt": b"first\n",
    "folder/b.txt": random.Random(1).randbytes(1_300_001),
    "empty.txt": b"",
    "long/" + "n" * 200 + ".txt": b"x" * 512,
    "gr\u00fc\u00dfe.txt": b"last",
}


def info(name: str, **fields: object) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def tar(*entries: tarfile.TarInfo | tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                archive.addfile(info(entry[0], size=len(entry[1])), io.BytesIO(entry[1]))
    return file.getvalue()


def write(folder: Path, data: bytes, *, suffix: str = ".tar") -> Path:
    path = folder / f"texts{suffix}"
    if suffix in (".tar.gz", ".tgz"):
        data = gzip.compress(data, compresslevel=1)
    elif suffix == ".tar.zst":
        data = zstandard.ZstdCompressor(write_checksum=True).compress(data)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.zst"])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_files_come_back_in_order_and_folders_do_not(tmp_path: Path, read_all: ReadAll, suffix: str, form: int) -> None:
    folders = [info("./", type=tarfile.DIRTYPE), info("folder", type=tarfile.DIRTYPE)]
    found = read_all(write(tmp_path, tar(*folders, *FILES.items(), form=form), suffix=suffix))
    assert list(found.items()) == list(FILES.items())


def test_files_that_are_left_half_read_do_not_shift_the_next(tmp_path: Path) -> None:
    heads = {member.name: stream.read(3) for member, stream in streams(write(tmp_path, tar(*FILES.items())))}
    assert heads == {name: data[:3] for name, data in FILES.items()}


def test_a_stream_is_closed_when_the_next_is_taken(tmp_path: Path) -> None:
    each = streams(write(tmp_path, tar(*FILES.items())))
    _, first = next(each)
    next(each)
    with pytest.raises(ValueError, match="closed"):
        first.read(1)
    each.close()


def test_a_size_and_a_name_in_the_extended_header_count(tmp_path: Path, read_all: ReadAll) -> None:
    # As for files of 8 GiB and more, whose sizes the plain header cannot hold.
    record = b"10 size=5\n14 path=n\xc3\xa4me\n17 comment=a=b\nc\n"
    header = info("x", type=tarfile.XHDTYPE, size=len(record)).tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0")
    entry = info("short", size=0).tobuf(tarfile.USTAR_FORMAT) + b"12345".ljust(512, b"\0")
    path = write(tmp_path, header + entry + tar(("next", b"1")))
    assert read_all(path) == {"n\u00e4me": b"12345", "next": b"1"}


def test_a_name_in_an_old_encoding_is_escaped(tmp_path: Path, read_all: ReadAll) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        archive.addfile(info("gr\u00fc\u00dfe.txt", size=2), io.BytesIO(b"hi"))
    assert read_all(write(tmp_path, file.getvalue())) == {"gr\\xfc\\xdfe.txt": b"hi"}


@pytest.mark.parametrize("name", ["../a", "a/../../b", "a\\..\\b", ".."])
def test_a_part_that_leads_up_is_refused(tmp_path: Path, refusal: Refusal, name: str) -> None:
    problem = refusal(write(tmp_path, tar(("good", b"1"), (name, b"2"))))
    assert problem == f"member {name!r}: a name cannot hold the part '..'"


@pytest.mark.parametrize("name", ["/etc/passwd", "C:\\a", "c:a", "\\a", "\\\\server\\a"])
def test_an_absolute_name_is_refused(tmp_path: Path, refusal: Refusal, name: str) -> None:
    problem = refusal(write(tmp_path, tar(("good", b"1"), (name, b"2"))))
    assert problem == f"member {name!r}: a name must be relative, without a root or a drive"


def test_a_folder_outside_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "'..'" in refusal(write(tmp_path, tar(info("../a", type=tarfile.DIRTYPE))))


def test_a_name_with_a_nul_byte_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    entry = info("a", pax_headers={"path": "a\0b"})
    assert refusal(write(tmp_path, tar(entry))) == "member 'a\\x00b': a name cannot hold a NUL byte"


def test_a_name_without_an_end_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "a name of 5,000 characters, and 4,096 are the most" in refusal(write(tmp_path, tar(("a" * 5000, b""))))


@pytest.mark.parametrize("name", ["", ".", "./"])
def test_a_file_without_a_name_is_refused(tmp_path: Path, refusal: Refusal, name: str) -> None:
    # The slash of "./" would make a folder of it.
    entry = info(name.rstrip("/"), pax_headers={"path": name})
    assert refusal(write(tmp_path, tar(entry))) == f"member {name!r}: a file needs a name"


@pytest.mark.parametrize(
    ("first", "second"), [("a/b", "a/b"), ("a/b", "./a/b"), ("./a/b", "a/b"), ("a/b", "a//b"), ("a/b", "a\\b")]
)
def test_two_files_of_one_name_are_refused(tmp_path: Path, refusal: Refusal, first: str, second: str) -> None:
    problem = refusal(write(tmp_path, tar((first, b"1"), (second, b"2"))))
    assert problem == f"member {second!r}: two files have this name, and each needs its own"


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a FIFO"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (b"V", "an entry of type b'V'"),
    ],
)
def test_what_is_no_regular_file_is_refused(tmp_path: Path, refusal: Refusal, kind: bytes, words: str) -> None:
    problem = refusal(write(tmp_path, tar(("good", b"1"), info("odd", type=kind, linkname="good"))))
    assert problem == f"member 'odd': is {words}, and only regular files are read"


def test_a_sparse_file_in_the_newer_form_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    # Its content would be megabytes of zeros that the archive does not hold.
    entry = info("odd", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "1000000000"})
    assert "is a sparse file" in refusal(write(tmp_path, tar(entry)))


def test_too_many_entries_are_refused_at_the_first_too_many(
    tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch, read_all: ReadAll
) -> None:
    monkeypatch.setattr(limits, "MOST_ENTRIES", 10)
    entries = [(f"{number}", b"") for number in range(10)]
    assert len(read_all(write(tmp_path, tar(*entries)))) == 10
    # What follows is no tar at all, and is never looked at.
    data = tar(*entries, info("folder", type=tarfile.DIRTYPE))[: 11 * 512] + b"?" * 2000
    assert refusal(write(tmp_path, data)) == "holds more than 10 entries"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
@pytest.mark.parametrize("end", [0, 100, 512, 600, 1024, 50_000, 512 * 2549, 512 * 2550])
def test_an_archive_that_is_cut_short_is_refused(tmp_path: Path, refusal: Refusal, suffix: str, end: int) -> None:
    # In a header, behind it, in a file, behind the last but one and before the end mark, which is at block 2,550.
    data = tar(*FILES.items(), form=tarfile.GNU_FORMAT)
    assert refusal(write(tmp_path, data[:end], suffix=suffix)).endswith("it ends before its content does")


def test_an_archive_without_its_end_mark_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = tar(("a", b"1" * 512))
    assert refusal(write(tmp_path, data[:1024])) == "is damaged: it ends before its content does"


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_a_damaged_checksum_behind_the_last_file_is_found(tmp_path: Path, refusal: Refusal, suffix: str) -> None:
    path = write(tmp_path, tar(*FILES.items()), suffix=suffix)
    data = bytearray(path.read_bytes())
    # gzip ends in a CRC-32 and a length, zst in a checksum, each of 4 bytes.
    data[-8 if suffix == ".tar.gz" else -4] ^= 1
    path.write_bytes(bytes(data))
    assert refusal(path).startswith("is damaged: ")


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path, refusal: Refusal) -> None:
    data = bytearray(tar(("a", b"1"), ("b", b"2")))
    data[1024] ^= 1
    with tarfile.open(fileobj=io.BytesIO(bytes(data))) as archive:
        assert archive.getnames() == ["a"]
    assert refusal(write(tmp_path, bytes(data))) == "is damaged: the header of an entry cannot be read (bad checksum)"


def test_what_is_no_tar_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    assert "header of an entry cannot be read" in refusal(write(tmp_path, b"plain text " * 200))
    assert "ends before" in refusal(write(tmp_path, b""))


def test_a_second_archive_behind_the_first_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = tar(("a", b"1")) + tar(("b", b"2"))
    assert refusal(write(tmp_path, data)) == "more follows behind the end mark, and one archive a file is read"


def test_a_size_below_zero_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = bytearray(tar(("a", b"")))
    data[124:136] = b"\xff" * 11 + b"\xf0"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert refusal(write(tmp_path, bytes(data))) == "member 'a': is damaged: a size of -16 bytes"


@pytest.mark.parametrize("size", ["-1", "1.5", "", "\u0661", "9" * 5_000])
def test_a_size_that_is_none_is_refused(tmp_path: Path, refusal: Refusal, size: str) -> None:
    problem = refusal(write(tmp_path, tar(info("a", pax_headers={"size": size}))))
    assert problem == f"member 'a': is damaged: a size of {size[:20]} bytes"


def test_a_header_too_long_to_keep_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    problem = refusal(write(tmp_path, tar(info("a", pax_headers={"comment": "c" * 70_000}))))
    assert problem.startswith("an extended header of 70,0")
    assert problem.endswith("65,536 are the most")


def test_any_number_of_headers_in_a_row_is_no_recursion(tmp_path: Path, refusal: Refusal) -> None:
    # tarfile goes one call deeper with each.
    header = info("x", type=tarfile.XHDTYPE).tobuf(tarfile.USTAR_FORMAT)
    data = header * 1_000 + tar()
    with pytest.raises(RecursionError):
        tarfile.TarFile(fileobj=io.BytesIO(data))
    assert "ends before" in refusal(write(tmp_path, header * 1_000))


def test_a_name_without_its_file_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    data = info("n" * 200).tobuf(tarfile.GNU_FORMAT)[:1024] + bytes(1024)
    assert "ends before" in refusal(write(tmp_path, data))


@pytest.mark.parametrize(
    "record", [b"5 path=abc\n", b"99 path=a\n", b"11 path=abc", b"no records", b"0 a=b\n", b"6 a=b\n0 c=d\n"]
)
def test_a_broken_extended_header_is_refused(tmp_path: Path, refusal: Refusal, record: bytes) -> None:
    header = info("x", type=tarfile.XHDTYPE, size=len(record)).tobuf(tarfile.USTAR_FORMAT)
    data = header + record.ljust(512, b"\0") + tar(("a", b""))
    assert refusal(write(tmp_path, data)) == "is damaged: an extended header is no list of records"


def test_a_name_for_all_files_is_refused(tmp_path: Path, refusal: Refusal) -> None:
    record = b"10 path=a\n"
    header = info("x", type=tarfile.XGLTYPE, size=len(record)).tobuf(tarfile.USTAR_FORMAT)
    assert "for all files" in refusal(write(tmp_path, header + record.ljust(512, b"\0") + tar(("a", b""))))


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zst"])
def test_a_bomb_is_refused(tmp_path: Path, refusal: Refusal, suffix: str) -> None:
    assert "are the most above 1,048,576" in refusal(write(tmp_path, tar(("a", bytes(5 << 20))), suffix=suffix))


def test_a_file_that_changed_after_the_check_is_refused_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path, tar(("a", b"1"), ("b", bytes(100_000))))
    each = streams(path)
    next(each)
    path.write_bytes(path.read_bytes()[:50_000])
    _, stream = next(each)
    with pytest.raises(CorpusError, match="ends before"):
        stream.read()
