"""Remote files, brought to this machine once a version, from public addresses and from hosts that you trust."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from llm.corpora.addresses import STORES, RemoteAccess, failures, missing, scheme_of, shown
from llm.corpora.https import answer_of, expect_success, stated_size, stated_version
from llm.errors import CorpusError, DownloadError
from llm.files import write_atomically
from llm.use import note_use

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_SAFE_NAME = re.compile(r"\w[\w.+@=,~() -]*")
_LONGEST_NAME = 150  # bytes; file systems allow 255, and the temporary name is longer
_AGAIN = "run again: only a whole file is kept, so it starts anew"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A remote file as it was found; `version` changes whenever the content does.

    `size` is in bytes, None where the server does not say. `url` may hold secrets: print it with `shown`.
    """

    url: str = field(repr=False)
    size: int | None
    version: str


class _Stream(Protocol):
    def read(self, amount: int, /) -> bytes: ...


def find_remote(pattern: str, access: RemoteAccess) -> list[RemoteFile]:
    """The files of an https address, or of an object store's address or pattern such as s3://bucket/**/*.txt, sorted.

    The version is the store's or server's ETag. A weak one (RFC 9110, section 8.8.1) does not count: then it is
    Last-Modified and Content-Length, or where these are missing the SHA-256 of the content, which is read for it.

    Raises CorpusError where the address may not be read, names nothing, or its file is too large; DownloadError where
    the server or store cannot be reached or answers with an error.
    """
    scheme = scheme_of(pattern)
    if scheme in STORES:
        return _find_objects(pattern)
    if scheme in ("https", "http") and "*" in pattern.partition("?")[0]:
        raise CorpusError(
            f"{shown(pattern)}: * has no meaning over {scheme}, which cannot list files",
            remedy="name each file, or read from an object store (s3://, gs://)",
        )
    with answer_of(pattern, method="HEAD", access=access) as head:
        version = stated_version(head.headers) if head.status == 200 else None
        if version:
            return [RemoteFile(pattern, stated_size(head.headers), version)]
    # Some servers refuse HEAD (an address signed for GET does), and an error of GET is the one that counts.
    with answer_of(pattern, method="GET", access=access) as answer:
        expect_success(answer, pattern)
        version = stated_version(answer.headers)
        if version:
            return [RemoteFile(pattern, answer.length, version)]
        log.info("%s: the server states no version, so the file is read for its checksum", shown(pattern))
        size, digest = _copy(answer, lambda _: None, url=pattern, promised=answer.length, access=access)
    return [RemoteFile(pattern, size, digest)]


def fetch(file: RemoteFile, *, access: RemoteAccess, downloads: Path) -> Path:
    """The file on this machine, in `downloads`, downloaded if this version is not there; its name keeps its suffixes.

    Two processes that want the same version download it once.

    Raises DownloadError where the server or store fails, sends fewer bytes than it promised, or has another version
    by now; CorpusError where the address may not be read, or the file is gone or too large. Nothing is kept of it then.
    """
    key = hashlib.sha256(f"{file.url}\0{file.version}".encode()).hexdigest()[:32]
    folder = remote_folder(downloads) / key
    path = folder / _file_name(file.url, otherwise=key)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock_of(folder)):
        folder.mkdir(exist_ok=True)  # not before: an empty one of long ago may be removed until the lock is held
        note_use(folder)
        if not path.exists():
            for left in folder.glob(".*.tmp"):  # by a process that was killed: whoever is alive would hold the lock
                left.unlink()
            log.info("downloading %s", shown(file.url))
            write_atomically(path, lambda temporary: _download(file, temporary, access))
    return path


def remote_folder(downloads: Path) -> Path:
    """Where remote files are kept, each version in a folder of its own, which each use renews the time of."""
    return downloads / "remote"


def lock_of(folder: Path) -> Path:
    """The lock file that whoever downloads or removes a version's folder holds."""
    return folder.with_name(f".{folder.name}.lock")


def _file_name(url: str, *, otherwise: str) -> str:
    """The last part of the address, or a safe name with the same suffixes, since formats go by these."""
    name = url.rpartition("/")[2] if scheme_of(url) in STORES else unquote(urlsplit(url).path.rpartition("/")[2])
    if _SAFE_NAME.fullmatch(name) and len(name.encode()) <= _LONGEST_NAME:
        return name
    suffixes = re.search(r"(\.[A-Za-z0-9]{1,10}){0,2}$", name)
    return otherwise[:16] + (suffixes[0] if suffixes else "")


def _download(file: RemoteFile, path: Path, access: RemoteAccess) -> None:
    url = file.url
    found: str | None
    with path.open("wb") as target:
        if scheme_of(url) in STORES:
            store = _store(url)
            with failures(shown(url), Exception):
                source = store.open(url, "rb")
            with source:
                _, digest = _copy(source, target.write, url=url, promised=file.size, access=access)
            with failures(shown(url), Exception):
                found = _object_version(store.info(url))
        else:
            with answer_of(url, method="GET", access=access) as answer:
                expect_success(answer, url)
                found = stated_version(answer.headers)
                _, digest = _copy(answer, target.write, url=url, promised=answer.length, access=access)
    if file.version not in (found, digest):
        raise DownloadError(
            f"{shown(url)}: is not the version that was found before; it was replaced in the meantime",
            remedy="run again; if it stays so, download it by hand and name its path",
        )


def _copy(
    source: _Stream,
    write: Callable[[bytes], object],
    *,
    url: str,
    promised: int | None,
    access: RemoteAccess,
) -> tuple[int, str]:
    """Copy `source` to its end; returns its size and SHA-256. Raises where it is larger than allowed or cut short."""
    size, digest = promised or 0, hashlib.sha256()
    if size <= access.maximum_bytes:
        size = 0
        for chunk in _chunks(source, url):
            size += len(chunk)
            if size > access.maximum_bytes:
                break
            digest.update(chunk)
            write(chunk)
    if size > access.maximum_bytes:
        raise CorpusError(
            f"{shown(url)}: has {size:,} bytes or more, and maximum_bytes is {access.maximum_bytes:,}",
            remedy="raise maximum_bytes if you want the file, else leave it out",
        )
    if promised is not None and size != promised:
        raise DownloadError(f"{shown(url)}: {promised:,} bytes were promised, but {size:,} came", remedy=_AGAIN)
    return size, f"sha256 {digest.hexdigest()}"


def _chunks(source: _Stream, url: str) -> Iterator[bytes]:
    while True:
        with failures(shown(url), Exception):
            chunk = source.read(_CHUNK)
        if not chunk:
            return
        yield chunk


def _find_objects(pattern: str) -> list[RemoteFile]:
    store = _store(pattern)
    with failures(shown(pattern), Exception):
        many = any(one in pattern for one in "*?[")
        found: dict[str, Any] = store.glob(pattern, detail=True) if many else {pattern: store.info(pattern)}
        files = [
            RemoteFile(store.unstrip_protocol(name), info["size"], _object_version(info))
            for name, info in sorted(found.items())
            if info["type"] == "file"
        ]
    if not files:
        raise missing(shown(pattern))
    return files


def _store(url: str) -> Any:
    """The file system of fsspec, which takes its keys and its endpoint from the environment."""
    import fsspec

    scheme = scheme_of(url) or ""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise CorpusError(
            f"{shown(url)}: keys do not belong into an address, which is logged and kept in manifests",
            remedy="set them in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    try:
        with failures(shown(url), OSError, ValueError):
            # A listing that is kept would hide a change.
            return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        raise CorpusError(
            f"{shown(url)}: a package that reads {scheme}:// is not installed",
            remedy=f"pip install -c constraints.txt {STORES[scheme]}",
        ) from None


def _object_version(info: Mapping[str, Any]) -> str:
    # Not fsspec's ukey: it is a hash of all that is known of the object, which is more after HEAD than after a listing.
    return f"etag {info['ETag'] if 'ETag' in info else info['etag']} {info['size']}"
