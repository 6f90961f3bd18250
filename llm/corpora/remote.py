"""Remote files, brought to this machine once a version, from public addresses and from hosts that you trust."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import ipaddress
import logging
import re
import socket
import ssl
import string
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.error import URLError
from urllib.parse import quote, unquote, urljoin, urlsplit

from filelock import FileLock
from pydantic import Field

from llm.config import Config
from llm.errors import CorpusError, DownloadError
from llm.files import write_atomically

log = logging.getLogger(__name__)

# Two letters at least: C:// is a drive of Windows.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# Stores whose address names a bucket and no host, and what installs them. Most other protocols of fsspec (ftp, sftp,
# webhdfs, reference) connect to whatever host the pattern says, which would lead around `trusted_hosts`.
_STORES = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
_CHUNK = 1 << 20
_TIMEOUT_S = 60.0
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_SAFE_NAME = re.compile(r"\w[\w.+@=,~() -]*")
_LONGEST_NAME = 150  # bytes; file systems allow 255, and the temporary name is longer
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Global by the letter, yet no public server: protocol assignments (metadata of Oracle's cloud), the host of a machine
# in Azure, site-local addresses.
_NOT_PUBLIC = tuple(ipaddress.ip_network(one) for one in ("192.0.0.0/24", "168.63.129.16/32", "fec0::/10"))
_HOST = r"^([A-Za-z0-9._-]+|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$"
_LOOK = "look at the address in a browser; what needs another login can be downloaded by hand and named by its path"
_AGAIN = "run again: only a whole file is kept, so it starts anew"


class RemoteAccess(Config):
    """What may be read from other machines."""

    trusted_hosts: tuple[Annotated[str, Field(pattern=_HOST)], ...] = Field(
        (), description="hosts on your own network that may be read, over http too; names or addresses, without a port"
    )
    maximum_bytes: int = Field(50_000_000_000, ge=1, description="the largest remote file that is downloaded, in bytes")

    def trusts(self, host: str) -> bool:
        """Whether `host` is one of `trusted_hosts`, spelled as there but for case."""
        return host.lower() in {trusted.lower() for trusted in self.trusted_hosts}


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


def shown(url: str) -> str:
    """The address as it may be printed: without user and password, query and fragment."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in _STORES:  # there, ? is a wildcard
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    # A password with a slash in it leaves no sound host before that slash, and the rest of it behind.
    if not re.fullmatch(r"([\w.-]*|\[[0-9A-Fa-f:.]+\])(:\d*)?", host):
        host, path = "***", ""
    return "".join(one for one in f"{scheme}://{host}{slash}{path}" if one.isprintable())


def is_remote(pattern: str) -> bool:
    """Whether `pattern` has a scheme, as in https://, s3:// or gs://, and so is no path on this machine.

    Raises CorpusError for file://.
    """
    scheme = _scheme(pattern)
    if scheme == "file":
        raise CorpusError(f"{shown(pattern)}: file:// is not read", remedy="name the path itself, without file://")
    return scheme is not None


def find_remote(pattern: str, access: RemoteAccess) -> list[RemoteFile]:
    """The files of an https address, or of an object store's address or pattern such as s3://bucket/**/*.txt, sorted.

    The version is the store's or server's ETag. A weak one (RFC 9110, section 8.8.1) does not count: then it is
    Last-Modified and Content-Length, or where these are missing the SHA-256 of the content, which is read for it.

    Raises CorpusError where the address may not be read, names nothing, or its file is too large; DownloadError where
    the server or store cannot be reached or answers with an error.
    """
    scheme = _scheme(pattern)
    if scheme in _STORES:
        return _find_objects(pattern)
    if scheme in ("https", "http") and "*" in pattern.partition("?")[0]:
        raise CorpusError(
            f"{shown(pattern)}: * has no meaning over {scheme}, which cannot list files",
            remedy="name each file, or read from an object store (s3://, gs://)",
        )
    with _answer(pattern, method="HEAD", access=access) as head:
        version = _stated_version(head.headers) if head.status == 200 else None
        if version:
            return [RemoteFile(pattern, _stated_size(head.headers), version)]
    # Some servers refuse HEAD (an address signed for GET does), and an error of GET is the one that counts.
    with _answer(pattern, method="GET", access=access) as answer:
        _expect_success(answer, pattern)
        version = _stated_version(answer.headers)
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
    folder = downloads / "remote" / key
    path = folder / _file_name(file.url, otherwise=key)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{key}.lock")):
        if not path.exists():
            for left in folder.glob(".*.tmp"):  # by a process that was killed: whoever is alive would hold the lock
                left.unlink()
            log.info("downloading %s", shown(file.url))
            write_atomically(path, lambda temporary: _download(file, temporary, access))
    return path


def _scheme(pattern: str) -> str | None:
    found = _SCHEME.match(pattern)
    return found[1].lower() if found else None


def _file_name(url: str, *, otherwise: str) -> str:
    """The last part of the address, or a safe name with the same suffixes, since formats go by these."""
    name = url.rpartition("/")[2] if _scheme(url) in _STORES else unquote(urlsplit(url).path.rpartition("/")[2])
    if _SAFE_NAME.fullmatch(name) and len(name.encode()) <= _LONGEST_NAME:
        return name
    suffixes = re.search(r"(\.[A-Za-z0-9]{1,10}){0,2}$", name)
    return otherwise[:16] + (suffixes[0] if suffixes else "")


def _download(file: RemoteFile, path: Path, access: RemoteAccess) -> None:
    url = file.url
    found: str | None
    with path.open("wb") as target:
        if _scheme(url) in _STORES:
            store = _store(url)
            with _failures(shown(url), Exception):
                source = store.open(url, "rb")
            with source:
                _, digest = _copy(source, target.write, url=url, promised=file.size, access=access)
            with _failures(shown(url), Exception):
                found = _object_version(store.info(url))
        else:
            with _answer(url, method="GET", access=access) as answer:
                _expect_success(answer, url)
                found = _stated_version(answer.headers)
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
        with _failures(shown(url), Exception):
            chunk = source.read(_CHUNK)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _failures(where: str, *kinds: type[Exception]) -> Iterator[None]:
    """Turn what a client raises into DownloadError; those of object stores have a tree of errors each."""
    try:
        yield
    except FileNotFoundError:
        raise _missing(where) from None
    except kinds as error:
        cause = error.reason if isinstance(error, URLError) else error
        # Clients name the addresses that they tried: of an endpoint or a proxy, with the login in it.
        said = re.sub(r"\w+://[^\s\"']+", lambda found: shown(found[0]), str(cause))
        said = "".join(one for one in said[:300] if one.isprintable())
        raise DownloadError(
            f"{where}: cannot be read ({type(cause).__name__}: {said})",
            remedy="check the network, the address and your right to read it, and run again",
        ) from None


def _missing(where: str) -> CorpusError:
    return CorpusError(f"{where}: no such file", remedy="correct the address")


# Object stores


def _find_objects(pattern: str) -> list[RemoteFile]:
    store = _store(pattern)
    with _failures(shown(pattern), Exception):
        many = any(one in pattern for one in "*?[")
        found: dict[str, Any] = store.glob(pattern, detail=True) if many else {pattern: store.info(pattern)}
        files = [
            RemoteFile(store.unstrip_protocol(name), info["size"], _object_version(info))
            for name, info in sorted(found.items())
            if info["type"] == "file"
        ]
    if not files:
        raise _missing(shown(pattern))
    return files


def _store(url: str) -> Any:
    """The file system of fsspec, which takes its keys and its endpoint from the environment."""
    import fsspec

    scheme = _scheme(url) or ""
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise CorpusError(
            f"{shown(url)}: keys do not belong into an address, which is logged and kept in manifests",
            remedy="set them in the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    try:
        with _failures(shown(url), OSError, ValueError):
            # A listing that is kept would hide a change.
            return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        raise CorpusError(
            f"{shown(url)}: a package that reads {scheme}:// is not installed",
            remedy=f"pip install 'nightshift[{_STORES[scheme]}]'",
        ) from None


def _object_version(info: Mapping[str, Any]) -> str:
    # Not fsspec's ukey: it is a hash of all that is known of the object, which is more after HEAD than after a listing.
    return f"etag {info['ETag'] if 'ETag' in info else info['etag']} {info['size']}"


# https


@contextlib.contextmanager
def _answer(url: str, *, method: str, access: RemoteAccess) -> Iterator[http.client.HTTPResponse]:
    """The server's answer after a few redirects at most; the address of each is checked like the first."""
    # Made by hand, since build_opener would add handlers that read ftp:// and file://.
    opener = urllib.request.OpenerDirector()
    opener.addheaders = [("User-Agent", "nightshift")]
    for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Connections(access)):
        opener.add_handler(handler)
    here, where = url, shown(url)
    for _ in range(_MOST_REDIRECTS + 1):
        request = _request(here, where=where, method=method, access=access)
        with _failures(where, OSError, http.client.HTTPException):
            answer: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
        with answer:
            location = answer.headers.get("Location") if answer.status in _REDIRECTS else None
            if location is None:
                yield answer
                return
        with _failures(where, ValueError):
            # http.client reads headers as ISO 8859-1, whatever they are.
            here = urljoin(here, quote(location, encoding="iso-8859-1", safe=string.punctuation))
        where = f"{shown(url)}, redirected to {shown(here)}"
    raise DownloadError(f"{shown(url)}: more than {_MOST_REDIRECTS} redirects", remedy=_LOOK)


def _request(url: str, *, where: str, method: str, access: RemoteAccess) -> urllib.request.Request:
    """The request for an address that may be read. Raises CorpusError for any other."""
    scheme = _scheme(url)
    if scheme not in ("https", "http"):
        raise CorpusError(
            f"{where}: only https, {', '.join(_STORES)} are read", remedy="download the file and name its path"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host if ":" in host else host.encode("idna").decode()
    except ValueError:  # whose text would show what is taken for a port, and may be a password
        host = ""
    if not re.fullmatch(_HOST, host):
        raise CorpusError(f"{where}: names no host", remedy="correct the address; it begins https://host/")
    if scheme == "http" and not access.trusts(host):
        raise CorpusError(
            f"{where}: over http the file could be changed on its way, and {host} is not one of trusted_hosts",
            remedy=f"use https, or add {host} to trusted_hosts if it is on your own network",
        )
    if not access.trusts(host):
        _check_resolution(host, port, where)
    authority = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    # Rebuilt of what was checked, so that urllib cannot take it for another host.
    resource = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=string.punctuation)
    request = urllib.request.Request(f"{scheme}://{authority}{resource}", method=method)  # noqa: S310 (checked)
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    return request


def _check_resolution(host: str, port: int | None, where: str) -> None:
    # The resolver also takes 2130706433, 0x7f.1 and 0177.0.0.1 for 127.0.0.1, so its answer is what is checked.
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DownloadError(
            f"{where}: the host {host} has no address ({error})", remedy="check the address and the network"
        ) from None
    for *_, address in found:
        _check_address(str(address[0]), host=host, where=where)


def _check_address(address: str, *, host: str, where: str) -> None:
    if not _is_public(address):
        raise CorpusError(
            f"{where}: {host} is at {address}, which is not a public address",
            remedy=f"add {host} to trusted_hosts if it is a host on your own network that may be read",
        )


def _is_public(text: str) -> bool:
    """Whether an address is one of the public Internet, or an IPv6 form of one (mapped, 6to4, NAT64)."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or translated or address
    if address.is_multicast or address.is_reserved or any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global


class _Plain(http.client.HTTPConnection):
    """Checks who is at the other end before a byte is sent: the name may have another address by now."""

    check_peer: Callable[[str], None]

    def connect(self) -> None:
        super().connect()
        self.check_peer(self.sock.getpeername()[0])


class _Encrypted(http.client.HTTPSConnection, _Plain):
    """`connect` of the first base calls that of the second, so the check comes before TLS begins."""


class _Connections(urllib.request.HTTPSHandler, urllib.request.HTTPHandler):
    def __init__(self, access: RemoteAccess) -> None:
        super().__init__()
        self._access = access

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection(_Plain, req), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection(_Encrypted, req), req, context=ssl.create_default_context())

    def _connection(self, kind: type[_Plain], request: urllib.request.Request) -> Callable[..., _Plain]:
        aim = urlsplit(request.full_url)
        host = aim.hostname or ""
        # With a proxy from the environment the peer is the proxy, which resolves the name by itself: then nothing but
        # the resolution of the name on this machine was checked.
        any_peer = self._access.trusts(host) or request.host != aim.netloc

        def check_peer(address: str) -> None:
            if not any_peer:
                _check_address(address, host=host, where=shown(request.full_url))

        def connection(authority: str, **options: Any) -> _Plain:
            made = kind(authority, **options)
            made.check_peer = check_peer
            return made

        return connection


def _expect_success(answer: http.client.HTTPResponse, url: str) -> None:
    if answer.status in (404, 410):
        raise _missing(shown(url))
    if answer.status != 200:
        phrase = http.client.responses.get(answer.status, "")
        raise DownloadError(f"{shown(url)}: the server answered {answer.status} {phrase}".rstrip(), remedy=_LOOK)


def _stated_version(headers: http.client.HTTPMessage) -> str | None:
    etag, modified, size = (headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Length"))
    if etag and not etag.startswith("W/"):
        return f"etag {etag}"
    return f"modified {modified} {size} {etag}" if modified and size else None


def _stated_size(headers: http.client.HTTPMessage) -> int | None:
    size = headers.get("Content-Length", "")
    return int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None
