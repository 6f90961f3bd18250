"""Compressed files as streams: byte for byte, in flat memory, and refused when cut, damaged or a bomb."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from llm.corpora.archives import open_stream
from llm.corpora.containers.limits import MOST_RATIO, RATIO_FLOOR
from llm.errors import CorpusError

DATA = random.Random(1).randbytes(300_000) + b"line\n" * 20_000
ZEROS = bytes(4 << 20)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)


COMPRESS = {".gz": gz, ".zst": zst}
SKIPPABLE = bytes.fromhex("502a4d18 05000000") + b"notes"
both = pytest.mark.parametrize("suffix", COMPRESS)


def read(path: Path) -> bytes:
    with open_stream(path) as stream:
        return stream.read()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], Path]:
    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


Write = Callable[[str, bytes], Path]


@both
def test_bytes_come_out_as_they_went_in(write: Write, suffix: str) -> None:
    assert read(write(f"a.txt{suffix}", COMPRESS[suffix](DATA))) == DATA


def test_a_plain_file_is_read_as_it_is_and_can_be_searched(write: Write) -> None:
    path = write("a.txt", DATA)
    assert read(path) == DATA
    with open_stream(path) as stream:
        assert stream.seekable()


def test_the_case_of_the_suffix_is_no_matter(write: Write) -> None:
    assert read(write("A.TXT.GZ", gz(b"text"))) == b"text"


@both
@pytest.mark.parametrize("size", [1, 7, 65_537, 1_000_003])
def test_odd_pieces_make_the_same_whole(write: Write, suffix: str, size: int) -> None:
    data = DATA if size > 7 else DATA[:5_000]
    pieces = []
    with open_stream(write(f"a{suffix}", COMPRESS[suffix](data))) as stream:
        while piece := stream.read(size):
            pieces.append(piece)
    assert b"".join(pieces) == data
    assert all(len(piece) == size for piece in pieces[:-1])


@both
def test_files_put_together_are_read_whole(write: Write, suffix: str) -> None:
    compress = COMPRESS[suffix]
    assert read(write(f"a{suffix}", compress(b"one") + compress(b"") + compress(DATA))) == b"one" + DATA


def test_frames_that_hold_no_text_are_passed_over(write: Write) -> None:
    assert read(write("a.zst", SKIPPABLE + zst(b"one") + SKIPPABLE + zst(b"two") + SKIPPABLE)) == b"onetwo"


def test_frames_without_checksum_or_size_and_of_repeated_bytes_are_read(write: Write) -> None:
    compressor = zstandard.ZstdCompressor(write_checksum=False).compressobj()
    data = DATA + bytes(1 << 20) + DATA
    assert read(write("a.zst", compressor.compress(data) + compressor.flush())) == data


@both
def test_a_compressed_file_without_content_has_none(write: Write, suffix: str) -> None:
    assert read(write(f"a{suffix}", COMPRESS[suffix](b""))) == b""


@both
def test_memory_stays_flat(write: Write, suffix: str) -> None:
    # 50 times 4 MiB at about 60 for 1, under the limit.
    piece = random.Random(2).randbytes(64 << 10) + bytes((4 << 20) - (64 << 10))
    path = write(f"a{suffix}", COMPRESS[suffix](piece) * 50)
    assert 50 < 50 * len(piece) / path.stat().st_size < MOST_RATIO
    count = 0
    tracemalloc.start()
    try:
        with open_stream(path) as stream:
            while data := stream.read(1 << 20):
                count += len(data)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert count == 50 * len(piece)


@both
@pytest.mark.parametrize("kept", [3, 12, 1_000, -20, -4, -1])
def test_a_file_that_is_cut_short_is_refused(write: Write, suffix: str, kept: int) -> None:
    path = write(f"a{suffix}", COMPRESS[suffix](DATA)[:kept])
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert caught.value.problem == f"{path}: is damaged: it ends before its content does"


@both
def test_a_second_part_that_is_cut_short_is_refused(write: Write, suffix: str) -> None:
    compressed = COMPRESS[suffix](DATA)
    path = write(f"a{suffix}", compressed + compressed[:-10])
    with pytest.raises(CorpusError, match="ends before its content"):
        read(path)


@both
def test_an_empty_file_is_refused(write: Write, suffix: str) -> None:
    path = write(f"a{suffix}", b"")
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert caught.value.problem == f"{path}: is damaged: an empty file is no {suffix} file"


@both
def test_a_flipped_bit_is_found(write: Write, suffix: str) -> None:
    data = bytearray(COMPRESS[suffix](DATA))
    data[100_000] ^= 1
    path = write(f"a{suffix}", bytes(data))
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert caught.value.problem.startswith(f"{path}: is damaged: ")


def test_a_broken_block_within_gzip_is_found(write: Write) -> None:
    data = bytearray(gz(b"text"))
    data[10] = 0xFF  # behind the header of 10 bytes: a block of a type that does not exist
    path = write("a.gz", bytes(data))
    with pytest.raises(CorpusError, match="is damaged: Error -3 while decompressing"):
        read(path)


@both
@pytest.mark.parametrize("before", [b"", b"text"])
def test_what_is_not_compressed_is_refused(write: Write, suffix: str, before: bytes) -> None:
    path = write(f"a{suffix}", (COMPRESS[suffix](before) if before else b"") + b"plain text, long enough")
    with pytest.raises(CorpusError) as caught:
        read(path)
    assert caught.value.problem.startswith(f"{path}: is damaged: ")


@both
def test_a_bomb_is_refused_before_it_has_gone_off(write: Write, suffix: str) -> None:
    path = write(f"a{suffix}", COMPRESS[suffix](ZEROS) * 10)
    allowed = max(RATIO_FLOOR, MOST_RATIO * path.stat().st_size)
    assert allowed < 40 << 20
    pieces = []
    with open_stream(path) as stream, pytest.raises(CorpusError) as caught:
        pieces.extend(map(len, iter(lambda: stream.read(100_000), b"")))
    assert str(path) in caught.value.problem
    assert f"{path.stat().st_size:,} bytes hold more than {allowed:,}" in caught.value.problem
    assert 0 < sum(pieces) <= allowed


@both
def test_a_small_file_may_be_as_dense_as_it_likes(write: Write, suffix: str) -> None:
    data = bytes(RATIO_FLOOR)
    path = write(f"a{suffix}", COMPRESS[suffix](data))
    assert len(data) > MOST_RATIO * path.stat().st_size
    assert read(path) == data
    path.write_bytes(COMPRESS[suffix](data + b"\0"))
    with pytest.raises(CorpusError, match="hold more than 1,048,576"):
        read(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"a\.gz: cannot be read \(No such file"):
        open_stream(tmp_path / "a.gz")
