"""Archives of every kind by one way in: what counts as one, and that nothing comes out of a bad one."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from llm.corpora.archives import Member, is_archive, members, streams
from llm.errors import CorpusError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst")
FILES = {"b.txt": b"two\n", "folder/a.txt": bytes(range(256)) * 1_000, "none.txt": b""}


def make(path: Path, files: dict[str, bytes]) -> Path:
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return path
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    path.write_bytes(_compressor(path)(file.getvalue()))
    return path


def _compressor(path: Path) -> Callable[[bytes], bytes]:
    if path.suffix == ".zst":
        return zstandard.ZstdCompressor(write_checksum=True).compress
    return bytes if path.suffix == ".tar" else lambda data: gzip.compress(data, compresslevel=1)


every = pytest.mark.parametrize("suffix", SUFFIXES)


@every
def test_members_are_the_files_with_their_sizes_in_order(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"texts{suffix}", FILES)
    assert members(path) == [Member(name, len(data)) for name, data in FILES.items()]


@every
def test_streams_give_the_bytes(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"texts{suffix}", FILES)
    assert {member.name: stream.read() for member, stream in streams(path)} == FILES
    assert list(tmp_path.iterdir()) == [path]


@every
def test_a_stream_does_not_outlive_its_turn(tmp_path: Path, suffix: str) -> None:
    each = streams(make(tmp_path / f"texts{suffix}", FILES))
    _, first = next(each)
    next(each)
    assert first.closed
    each.close()


@every
@pytest.mark.parametrize("bad", ["../a.txt", "b.txt/../../a.txt", "/a.txt", "./b.txt"])
def test_a_bad_name_at_the_end_spoils_the_good_ones_before(tmp_path: Path, suffix: str, bad: str) -> None:
    path = make(tmp_path / f"texts{suffix}", {**FILES, bad: b"x"})
    each = streams(path)
    with pytest.raises(CorpusError) as caught:
        next(each)
    assert caught.value.problem.startswith(f"{path}: member {bad!r}: ")
    assert list(tmp_path.iterdir()) == [path]


@every
def test_an_archive_that_is_cut_in_half_is_refused(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"texts{suffix}", FILES)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CorpusError, match=r"is damaged: .* (ends before|cut short)|is damaged: it ends before"):
        members(path)


@pytest.mark.parametrize("suffix", [".zip", ".tgz", ".tar.zst"])
def test_what_unpacks_to_far_more_is_refused(tmp_path: Path, suffix: str) -> None:
    path = make(tmp_path / f"texts{suffix}", {"a.txt": bytes(8 << 20)})
    with pytest.raises(CorpusError, match="100 for 1 are the most"):
        members(path)


@every
def test_memory_stays_flat(tmp_path: Path, suffix: str) -> None:
    # About 24 MiB, 30 for 1.
    data = b"".join(random.Random(number).randbytes(35_000) + bytes(1 << 20) for number in range(23))
    path = make(tmp_path / f"texts{suffix}", {"a.txt": data})
    tracemalloc.start()
    try:
        for _, stream in streams(path):
            while stream.read(1 << 16):
                continue
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@every
def test_what_is_something_else_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"texts{suffix}"
    path.write_bytes(b"plain text, and quite a lot of it\n" * 100)
    with pytest.raises(CorpusError, match="is damaged"):
        members(path)


@every
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"texts{suffix}"
    path.touch()
    with pytest.raises(CorpusError, match="is damaged"):
        members(path)


@every
def test_a_file_that_is_not_there_is_named(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(CorpusError, match=r"texts.*cannot be read"):
        members(tmp_path / f"texts{suffix}")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.b.tar.gz", "a.tgz", "A.TAR.ZST", "a.ZIP"])
def test_archives_are_known_by_their_names(name: str) -> None:
    assert is_archive(Path(name))


@pytest.mark.parametrize("name", ["a.txt", "a.gz", "a.txt.gz", "a.zst", "tar", "zip", "a.zip.txt", "a.tar.xz"])
def test_other_names_are_no_archives(name: str) -> None:
    assert not is_archive(Path(name))
    with pytest.raises(CorpusError, match="not that of an archive"):
        members(Path(name))
