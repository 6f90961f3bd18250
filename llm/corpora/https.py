"""Asking servers over https: no address that is not public, at any redirect, unless its host is trusted."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import string
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from llm.corpora.addresses import HOST, STORES, RemoteAccess, failures, missing, scheme_of, shown
from llm.errors import CorpusError, DownloadError

_TIMEOUT_S = 60.0
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Global by the letter, yet no public server: protocol assignments (metadata of Oracle's cloud), the host of a machine
# in Azure, site-local addresses.
_NOT_PUBLIC = tuple(ipaddress.ip_network(one) for one in ("192.0.0.0/24", "168.63.129.16/32", "fec0::/10"))
_LOOK = "look at the address in a browser; what needs another login can be downloaded by hand and named by its path"


@contextlib.contextmanager
def answer_of(url: str, *, method: str, access: RemoteAccess) -> Iterator[http.client.HTTPResponse]:
    """The server's answer after a few redirects at most; the address of each is checked like the first."""
    # Made by hand, since build_opener would add handlers that read ftp:// and file://.
    opener = urllib.request.OpenerDirector()
    opener.addheaders = [("User-Agent", "nightshift")]
    for handler in (urllib.request.ProxyHandler(), urllib.request.UnknownHandler(), _Connections(access)):
        opener.add_handler(handler)
    here, where = url, shown(url)
    for _ in range(_MOST_REDIRECTS + 1):
        request = _request(here, where=where, method=method, access=access)
        with failures(where, OSError, http.client.HTTPException):
            answer: http.client.HTTPResponse = opener.open(request, timeout=_TIMEOUT_S)
        with answer:
            location = answer.headers.get("Location") if answer.status in _REDIRECTS else None
            if location is None:
                yield answer
                return
        with failures(where, ValueError):
            # http.client reads headers as ISO 8859-1, whatever they are.
            here = urljoin(here, quote(location, encoding="iso-8859-1", safe=string.punctuation))
        where = f"{shown(url)}, redirected to {shown(here)}"
    raise DownloadError(f"{shown(url)}: more than {_MOST_REDIRECTS} redirects", remedy=_LOOK)


def _request(url: str, *, where: str, method: str, access: RemoteAccess) -> urllib.request.Request:
    """The request for an address that may be read. Raises CorpusError for any other."""
    scheme = scheme_of(url)
    if scheme not in ("https", "http"):
        raise CorpusError(
            f"{where}: only https, {', '.join(STORES)} are read", remedy="download the file and name its path"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host if ":" in host else host.encode("idna").decode()
    except ValueError:  # whose text would show what is taken for a port, and may be a password
        host = ""
    if not re.fullmatch(HOST, host):
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


def expect_success(answer: http.client.HTTPResponse, url: str) -> None:
    """Raises CorpusError where there is no such file, DownloadError for every other answer but the file."""
    if answer.status in (404, 410):
        raise missing(shown(url))
    if answer.status != 200:
        phrase = http.client.responses.get(answer.status, "")
        raise DownloadError(f"{shown(url)}: the server answered {answer.status} {phrase}".rstrip(), remedy=_LOOK)


def stated_version(headers: http.client.HTTPMessage) -> str | None:
    """What changes with the content by the server's own word; None where it says nothing that can be relied on."""
    etag, modified, size = (headers.get(name, "") for name in ("ETag", "Last-Modified", "Content-Length"))
    if etag and not etag.startswith("W/"):
        return f"etag {etag}"
    return f"modified {modified} {size} {etag}" if modified and size else None


def stated_size(headers: http.client.HTTPMessage) -> int | None:
    """Bytes of the file, where the server says so."""
    size = headers.get("Content-Length", "")
    return int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None
