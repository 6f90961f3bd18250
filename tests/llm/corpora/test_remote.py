"""Remote files: from real servers on loopback, and nothing from where it must not come."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llm.corpora.addresses import RemoteAccess, is_remote, shown
from llm.corpora.remote import RemoteFile, fetch, find_remote
from llm.errors import CorpusError, DownloadError, NightshiftError

TRUSTED = RemoteAccess(trusted_hosts=("127.0.0.1",))
UNTRUSTING = RemoteAccess()
PUBLIC = "93.184.215.14"
NOT_PUBLIC = (
    "localhost 127.0.0.1 127.1 2130706433 0x7f000001 0177.0.0.1 0 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 "
    "169.254.169.254 0xa9fea9fe 100.100.100.200 192.0.0.192 168.63.129.16 224.0.0.1 240.0.0.1 255.255.255.255 "
    "[::1] [::] [::ffff:127.0.0.1] [::ffff:a9fe:a9fe] [::7f00:1] [fe80::1] [fd00:ec2::254] [fec0::1] [ff02::1] "
    "[2002:7f00:1::] [64:ff9b::a9fe:a9fe] [64:ff9b:1::1] [2001:db8::1]"
)


@dataclass
class Page:
    """What a path answers: `promised` bytes are stated, unless None, and `body` is sent."""

    body: bytes = b"text\n"
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"one"'})
    promised: int | None = -1
    methods: tuple[str, ...] = ("HEAD", "GET")


class Site(ThreadingHTTPServer):
    """A server on 127.0.0.1 that keeps the requests it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Visitor)
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, str]] = []
        self.authorizations: list[str | None] = []
        self.hung_up = threading.Event()  # the client did, before it had all
        self.scheme = "http"

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_port}{path}"

    def redirect(self, path: str, to: str) -> None:
        self.pages[path] = Page(b"", status=302, headers={"Location": to})

    def count(self, method: str) -> int:
        return [made for made, _ in self.requests].count(method)


class Visitor(BaseHTTPRequestHandler):
    server: Site

    def answer(self) -> None:
        self.server.requests.append((self.command, self.path))
        self.server.authorizations.append(self.headers.get("Authorization"))
        page = self.server.pages.get(self.path, Page(b"", status=404, headers={}))
        if self.command not in page.methods:
            page = Page(b"", status=405, headers={})
        self.send_response(page.status)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.promised is not None:
            self.send_header("Content-Length", str(len(page.body) if page.promised == -1 else page.promised))
        self.end_headers()
        if self.command == "GET":
            try:
                self.wfile.write(page.body)
            except ConnectionError:
                self.server.hung_up.set()

    do_GET = do_HEAD = answer  # noqa: N815

    def do_CONNECT(self) -> None:
        self.server.requests.append((self.command, self.path))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Nothing: what matters is in `requests`."""


@pytest.fixture
def make_site() -> Iterator[Callable[[], Site]]:
    sites: list[tuple[Site, threading.Thread]] = []

    def make() -> Site:
        site = Site()
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        sites.append((site, thread))
        return site

    yield make
    for site, thread in sites:
        site.shutdown()
        thread.join()
        site.server_close()


@pytest.fixture
def site(make_site: Callable[[], Site]) -> Site:
    return make_site()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def contacted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that http.client connects to, as it names them."""
    hosts: list[str] = []
    connect = socket.create_connection

    def record(address: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        hosts.append(address[0])
        if ipaddress.ip_address(socket.gethostbyname(address[0])).is_loopback:
            return connect(address, *args, **options)
        raise ConnectionRefusedError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", record)
    return hosts


def resolve(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """Let `names` have these addresses, and whatever else the ones that it has."""
    really = socket.getaddrinfo

    def getaddrinfo(host: str, port: Any, *args: Any, **options: Any) -> list[Any]:
        return [found for address in names.get(host, [host]) for found in really(address, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def kept(downloads: Path) -> list[Path]:
    return [path for path in downloads.rglob("*") if path.is_file() and path.suffix != ".lock"]


# Addresses


@pytest.mark.parametrize(
    ("pattern", "remote"),
    [
        ("https://host/a.txt", True),
        ("HTTP://host/a.txt", True),
        ("s3://bucket/*.txt", True),
        ("gs://bucket/a", True),
        ("C:\\texts\\a.txt", False),
        ("c://texts/a.txt", False),
        ("texts/**/*.txt", False),
        ("/texts/a://b", False),
    ],
)
def test_what_has_a_scheme_is_remote(pattern: str, remote: bool) -> None:
    assert is_remote(pattern) is remote


def test_a_file_address_is_refused_with_the_advice_to_name_the_path() -> None:
    with pytest.raises(CorpusError, match="name the path itself"):
        is_remote("file:///etc/passwd")


@pytest.mark.parametrize("scheme", ["ftp", "sftp", "webhdfs", "memory", "reference", "zip"])
def test_protocols_that_lead_around_the_trusted_hosts_are_refused(scheme: str) -> None:
    with pytest.raises(CorpusError, match="only https"):
        find_remote(f"{scheme}://a.txt", TRUSTED)


@pytest.mark.parametrize("host", ["http://host", "host:80", "user@host", "host/path", "", "10.0.0.1:80"])
def test_a_trusted_host_is_a_host_and_nothing_else(host: str) -> None:
    with pytest.raises(ValidationError):
        RemoteAccess(trusted_hosts=(host,))


@pytest.mark.parametrize("host", ["intranet", "Files.example.org", "10.0.0.1", "fd00::1", "::1"])
def test_a_trusted_host_is_known_whatever_its_case(host: str) -> None:
    access = RemoteAccess(trusted_hosts=(host,))
    assert access.trusts(host.upper())
    assert not access.trusts(f"{host}1")


@pytest.mark.parametrize(
    ("url", "printed"),
    [
        ("https://me:s3cret@host:8443/a/b.txt?token=s3cret#s3cret", "https://host:8443/a/b.txt"),
        ("https://host?token=s3cret/x", "https://host"),
        ("https://host/package@1.0/a.txt", "https://host/package@1.0/a.txt"),
        ("https://me:s3c/ret@host/a", "https://***/"),
        ("s3://me:s3cret@bucket/a?.txt", "s3://bucket/a?.txt"),
        ("https://[::1]:80/a", "https://[::1]:80/a"),
        ("https://host/\x1b[2J\na", "https://host/[2Ja"),
    ],
)
def test_secrets_and_control_characters_are_not_printed(url: str, printed: str) -> None:
    assert shown(url) == printed


@pytest.mark.parametrize(
    "pattern", ["https://me:s3cret@/a", "https://me:s3c/ret@host/a", "https://[s3cret/a", "https:///s3cret?s3cret"]
)
def test_an_address_without_a_sound_host_is_refused_and_its_secrets_kept(pattern: str) -> None:
    with pytest.raises(CorpusError, match="names no host") as caught:
        find_remote(pattern, UNTRUSTING)
    assert "s3c/ret" not in str(caught.value)
    assert "me:" not in str(caught.value)


# Which machines are read


@pytest.mark.parametrize(
    "host",
    NOT_PUBLIC.split(),
)
def test_a_host_that_is_not_public_is_never_contacted(host: str, contacted: list[str]) -> None:
    with pytest.raises(CorpusError, match="is not a public address"):
        find_remote(f"https://{host}/a.txt", UNTRUSTING)
    assert contacted == []


@pytest.mark.parametrize("address", [PUBLIC, "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::"])
def test_a_host_with_a_public_address_is_contacted(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(where: tuple[str, int], *args: Any, **options: Any) -> socket.socket:
        tried.append(where)
        raise ConnectionRefusedError("no network in tests")

    monkeypatch.setattr(socket, "create_connection", refuse)
    resolve(monkeypatch, {"files.example": [address]})
    with pytest.raises(DownloadError, match="no network in tests"):
        find_remote("https://files.example/a.txt", UNTRUSTING)
    assert tried == [("files.example", 443)]


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch, contacted: list[str]
) -> None:
    resolve(monkeypatch, {"files.example": [PUBLIC, "10.1.2.3"]})
    with pytest.raises(CorpusError, match=r"files.example is at 10\.1\.2\.3"):
        find_remote("https://files.example/a.txt", UNTRUSTING)
    assert contacted == []


def test_a_name_that_turns_private_after_the_check_gets_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    really, answers = socket.getaddrinfo, [PUBLIC, "127.0.0.1"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *rest, **more: really(answers.pop(0), *rest, **more))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(CorpusError, match=r"files.example is at 127\.0\.0\.1"):
            find_remote(f"https://files.example:{listener.getsockname()[1]}/a.txt", UNTRUSTING)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100) == b""


def test_http_is_for_trusted_hosts_only(site: Site) -> None:
    site.pages["/a.txt"] = Page()
    assert find_remote(site.url("/a.txt"), TRUSTED)
    with pytest.raises(CorpusError, match="not one of trusted_hosts"):
        find_remote(site.url("/a.txt"), UNTRUSTING)
    assert len(site.requests) == 1


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("http://169.254.169.254/latest/meta-data/", "not one of trusted_hosts"),
        ("https://169.254.169.254/latest/meta-data/", "is not a public address"),
        ("//169.254.169.254/latest/", "not one of trusted_hosts"),
        ("http://localhost:{port}/secret", "not one of trusted_hosts"),
        ("https://localhost:{port}/secret", "is not a public address"),
        ("https://127.0.0.1@localhost:{port}/secret", "is not a public address"),
        ("file:///etc/passwd", "only https"),
        ("ftp://127.0.0.1:{port}/secret", "only https"),
        ("s3://bucket/secret", "only https"),
        ("http://[", "Invalid IPv6 URL"),
    ],
)
def test_a_redirect_is_checked_like_the_first_address(
    target: str, said: str, site: Site, make_site: Callable[[], Site], contacted: list[str]
) -> None:
    other = make_site()
    other.pages["/secret"] = Page()
    site.redirect("/a.txt", target.format(port=other.server_port))
    with pytest.raises(NightshiftError, match=said) as caught:
        find_remote(site.url("/a.txt"), TRUSTED)
    assert site.url("/a.txt") in str(caught.value)
    assert other.requests == []
    assert contacted == ["127.0.0.1"]


def test_five_redirects_are_followed_and_no_more(site: Site, tmp_path: Path) -> None:
    for number in range(6):
        site.redirect(f"/{number}", f"/{number + 1}")
    site.pages["/6"] = Page(b"there")
    (file,) = find_remote(site.url("/1"), TRUSTED)
    assert fetch(file, access=TRUSTED, downloads=tmp_path).read_bytes() == b"there"
    with pytest.raises(DownloadError, match="more than 5 redirects"):
        find_remote(site.url("/0"), TRUSTED)


def test_the_login_in_an_address_is_sent_to_its_own_server_only(site: Site, make_site: Callable[[], Site]) -> None:
    other = make_site()
    site.redirect("/a.txt", other.url("/b.txt"))
    other.pages["/b.txt"] = Page()
    find_remote(site.url("/a.txt", host="me:s3%20cret@127.0.0.1"), TRUSTED)
    assert site.authorizations == ["Basic bWU6czMgY3JldA=="]
    assert other.authorizations == [None]


def test_behind_a_proxy_the_name_is_checked_and_the_proxy_contacted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(monkeypatch, {"files.example": [PUBLIC], "private.example": ["10.0.0.1"]})
    monkeypatch.setenv("https_proxy", site.url(""))
    with pytest.raises(CorpusError, match="is not a public address"):
        find_remote("https://private.example/a.txt", UNTRUSTING)
    assert site.requests == []
    with pytest.raises(DownloadError, match=r"SSL|EOF|reset"):  # behind CONNECT, this proxy speaks no TLS
        find_remote("https://files.example/a.txt", UNTRUSTING)
    assert site.requests == [("CONNECT", "files.example:443")]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_is_verified_even_of_a_trusted_host(
    site: Site, certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    site.socket = context.wrap_socket(site.socket, server_side=True)
    site.scheme = "https"
    site.pages["/a.txt"] = Page(b"encrypted")
    with pytest.raises(DownloadError, match="certificate verify failed"):
        find_remote(site.url("/a.txt"), TRUSTED)
    assert site.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    assert fetch(file, access=TRUSTED, downloads=tmp_path).read_bytes() == b"encrypted"


# What is kept


def test_one_version_is_downloaded_once_and_a_new_one_again(site: Site, tmp_path: Path) -> None:
    url = site.url("/texts/a.jsonl.gz?token=s3cret")
    site.pages["/texts/a.jsonl.gz?token=s3cret"] = Page(b"first")
    (file,) = find_remote(url, TRUSTED)
    assert (file.size, "s3cret" in repr(file)) == (5, False)
    path = fetch(file, access=TRUSTED, downloads=tmp_path)
    assert (path.name, path.read_bytes()) == ("a.jsonl.gz", b"first")
    assert fetch(*find_remote(url, TRUSTED), access=TRUSTED, downloads=tmp_path) == path
    assert site.count("GET") == 1
    site.pages["/texts/a.jsonl.gz?token=s3cret"] = Page(b"other", headers={"ETag": '"two"'})
    newer = fetch(*find_remote(url, TRUSTED), access=TRUSTED, downloads=tmp_path)
    assert (newer.name, newer.read_bytes(), path.read_bytes()) == ("a.jsonl.gz", b"other", b"first")


def test_two_threads_download_a_version_once(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page(b"x" * 3_000_000)
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch(file, access=TRUSTED, downloads=tmp_path), range(4)))
    assert [path.stat().st_size for path in paths] == [3_000_000]
    assert site.count("GET") == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, {"Last-Modified": "Tue, 02 Jan 2024 00:00:00 GMT"}),
        ({"ETag": 'W/"same"'}, {"ETag": 'W/"same"'}),
        ({}, {}),
    ],
)
@pytest.mark.parametrize("methods", [("HEAD", "GET"), ("GET",)])
def test_without_a_strong_etag_a_changed_content_is_another_version(
    first: dict[str, str], second: dict[str, str], methods: tuple[str, ...], site: Site, tmp_path: Path
) -> None:
    contents = []
    for body, headers in ((b"first", first), (b"other", second), (b"other", second)):
        site.pages["/a.txt"] = Page(body, headers=headers, methods=methods)
        file = find_remote(site.url("/a.txt"), TRUSTED)[0]
        assert file.size == 5
        contents.append((file.version, fetch(file, access=TRUSTED, downloads=tmp_path).read_bytes()))
    assert [content for _, content in contents] == [b"first", b"other", b"other"]
    assert contents[0][0] != contents[1][0] == contents[2][0]


@pytest.mark.parametrize("headers", [{"ETag": '"two"'}, {}])
def test_what_was_replaced_since_it_was_found_is_not_kept_as_what_was_found(
    headers: dict[str, str], site: Site, tmp_path: Path
) -> None:
    site.pages["/a.txt"] = Page(b"first", headers={"ETag": '"one"'} if headers else {})
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    site.pages["/a.txt"] = Page(b"other", headers=headers)
    with pytest.raises(DownloadError, match="not the version that was found"):
        fetch(file, access=TRUSTED, downloads=tmp_path)
    assert kept(tmp_path) == []


def test_a_body_cut_short_leaves_nothing_behind_and_the_next_try_succeeds(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page(b"half", promised=8)
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    with pytest.raises(DownloadError, match="8 bytes were promised, but 4 came"):
        fetch(file, access=TRUSTED, downloads=tmp_path)
    assert kept(tmp_path) == []
    site.pages["/a.txt"] = Page(b"all of it")
    assert fetch(file, access=TRUSTED, downloads=tmp_path).read_bytes() == b"all of it"


def test_what_a_killed_process_left_is_removed(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page()
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    path = fetch(file, access=TRUSTED, downloads=tmp_path)
    path.rename(path.with_name(".a.txt.1.tmp"))
    assert fetch(file, access=TRUSTED, downloads=tmp_path) == path
    assert kept(tmp_path) == [path]


@pytest.mark.parametrize("promised", [-1, None])
@pytest.mark.parametrize("headers", [{"ETag": '"one"'}, {}])
def test_a_file_that_is_too_large_is_refused(
    promised: int | None, headers: dict[str, str], site: Site, tmp_path: Path
) -> None:
    site.pages["/a.txt"] = Page(b"123456", headers=headers, promised=promised)
    allowed = RemoteAccess(trusted_hosts=("127.0.0.1",), maximum_bytes=6)
    assert fetch(*find_remote(site.url("/a.txt"), allowed), access=allowed, downloads=tmp_path / "a").read_bytes()
    access = RemoteAccess(trusted_hosts=("127.0.0.1",), maximum_bytes=5)
    with pytest.raises(CorpusError, match="maximum_bytes is 5"):
        fetch(*find_remote(site.url("/a.txt"), access), access=access, downloads=tmp_path / "b")
    assert kept(tmp_path / "b") == []


def test_no_more_than_the_limit_is_read_of_a_file_without_a_stated_size(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page(bytes(40_000_000), promised=None)
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    access = RemoteAccess(trusted_hosts=("127.0.0.1",), maximum_bytes=100)
    with pytest.raises(CorpusError, match="maximum_bytes is 100"):
        fetch(file, access=access, downloads=tmp_path)
    assert site.hung_up.wait(10)


@pytest.mark.parametrize(
    ("path", "suffixes"),
    [
        ("/", ""),
        ("/..", ""),
        ("/..%2F..%2Fetc%2Fpasswd.jsonl.gz", ".jsonl.gz"),
        ("/.hidden.txt", ".hidden.txt"),
        ("/a%0Ab.tar.zst", ".tar.zst"),
        ("/a%00.txt", ".txt"),
        ("/" + "long" * 60 + ".csv", ".csv"),
    ],
)
def test_an_unsafe_name_becomes_a_safe_one_with_the_same_suffixes(
    path: str, suffixes: str, site: Site, tmp_path: Path
) -> None:
    site.pages[path] = Page()
    (file,) = find_remote(site.url(path), TRUSTED)
    found = fetch(file, access=TRUSTED, downloads=tmp_path)
    assert found.name == found.parent.name[:16] + suffixes
    assert found.parent.parent == tmp_path / "remote"


def test_a_name_beyond_ascii_is_kept(site: Site, tmp_path: Path) -> None:
    site.pages["/%C3%9Cbung%201.txt"] = Page()
    for name in ("Übung 1.txt", "%C3%9Cbung%201.txt"):
        (file,) = find_remote(site.url(f"/{name}"), TRUSTED)
        assert fetch(file, access=TRUSTED, downloads=tmp_path).name == "Übung 1.txt"


@pytest.mark.parametrize(
    ("status", "error"), [(401, DownloadError), (403, DownloadError), (404, CorpusError), (500, DownloadError)]
)
def test_an_error_of_the_server_is_told_without_secrets(status: int, error: type[NightshiftError], site: Site) -> None:
    site.pages["/a.txt?token=s3cret"] = Page(b"", status=status)
    with pytest.raises(error, match=f"the server answered {status}|no such file") as caught:
        find_remote(site.url("/a.txt?token=s3cret", host="me:s3cret@127.0.0.1"), TRUSTED)
    assert site.url("/a.txt") in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_an_error_page_is_not_taken_for_the_file(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page()
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    site.pages["/a.txt"] = Page(b"sorry", status=503)
    with pytest.raises(DownloadError, match="the server answered 503 Service Unavailable"):
        fetch(file, access=TRUSTED, downloads=tmp_path)
    assert kept(tmp_path) == []


def test_a_server_that_cannot_be_reached_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DownloadError, match="Connection refused") as caught:
        find_remote(f"http://127.0.0.1:{port}/a.txt?token=s3cret", TRUSTED)
    assert "s3cret" not in str(caught.value)


def test_an_address_inside_the_error_of_a_client_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError('nothing at "http://me:s3cret@store/a?token=s3cret"')

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(DownloadError, match='nothing at "http://store/a"'):
        find_remote("https://127.0.0.1/a.txt", TRUSTED)


def test_a_connection_that_breaks_inside_a_chunk_is_told(site: Site, tmp_path: Path) -> None:
    headers = {"ETag": '"one"', "Transfer-Encoding": "chunked"}
    site.pages["/a.txt"] = Page(b"4\r\nha", headers=headers, promised=None)
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    with pytest.raises(DownloadError, match="IncompleteRead"):
        fetch(file, access=TRUSTED, downloads=tmp_path)
    assert kept(tmp_path) == []


def test_a_pattern_over_https_is_refused(site: Site) -> None:
    with pytest.raises(CorpusError, match="cannot list files"):
        find_remote(site.url("/*.txt"), TRUSTED)
    site.pages["/a.txt?all=*"] = Page()
    assert find_remote(site.url("/a.txt?all=*"), TRUSTED)


# Object stores


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """An object store on loopback with a bucket `texts`, as the file system that writes to it."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        store.mkdir("texts")
        yield store
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def test_objects_of_a_pattern_come_in_order_and_are_downloaded(bucket: Any, tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.csv", "deep/d.txt"):
        bucket.pipe(f"texts/pattern/{name}", name.encode())
    files = find_remote("s3://texts/pattern/*.txt", UNTRUSTING)
    assert [(file.url, file.size) for file in files] == [
        ("s3://texts/pattern/a.txt", 5),
        ("s3://texts/pattern/b.txt", 5),
    ]
    paths = [fetch(file, access=UNTRUSTING, downloads=tmp_path) for file in files]
    assert [(path.name, path.read_text()) for path in paths] == [("a.txt", "a.txt"), ("b.txt", "b.txt")]
    assert len(find_remote("s3://texts/pattern/**/*.txt", UNTRUSTING)) == 3


def test_an_object_has_the_same_version_by_name_and_by_pattern_until_it_changes(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("texts/version/a.txt", b"first")
    (file,) = find_remote("s3://texts/version/a.txt", UNTRUSTING)
    assert find_remote("s3://texts/version/*", UNTRUSTING) == [file]
    bucket.pipe("texts/version/a.txt", b"other")
    with pytest.raises(DownloadError, match="not the version that was found"):
        fetch(file, access=UNTRUSTING, downloads=tmp_path)
    assert kept(tmp_path) == []
    (newer,) = find_remote("s3://texts/version/a.txt", UNTRUSTING)
    assert newer.version != file.version
    assert fetch(newer, access=UNTRUSTING, downloads=tmp_path).read_bytes() == b"other"


@pytest.mark.parametrize("pattern", ["s3://texts/none.txt", "s3://texts/none/*.txt", "s3://nowhere/*", "s3://texts"])
def test_an_object_that_is_missing_is_told(pattern: str, bucket: Any) -> None:
    with pytest.raises(CorpusError, match="no such file") as caught:
        find_remote(pattern, UNTRUSTING)
    assert pattern in str(caught.value)


def test_an_object_that_went_away_or_is_too_large_is_told(bucket: Any, tmp_path: Path) -> None:
    bucket.pipe("texts/gone/a.txt", b"123456")
    (file,) = find_remote("s3://texts/gone/a.txt", UNTRUSTING)
    with pytest.raises(CorpusError, match="maximum_bytes is 5"):
        fetch(file, access=RemoteAccess(maximum_bytes=5), downloads=tmp_path)
    bucket.rm("texts/gone/a.txt")
    with pytest.raises(CorpusError, match="no such file"):
        fetch(file, access=UNTRUSTING, downloads=tmp_path)
    assert kept(tmp_path) == []


def test_a_key_in_the_address_of_an_object_is_refused_and_not_printed() -> None:
    with pytest.raises(CorpusError, match="AWS_SECRET_ACCESS_KEY") as caught:
        find_remote("s3://me:s3cret@bucket/a.txt", UNTRUSTING)
    assert "s3cret" not in str(caught.value)


def test_a_store_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(CorpusError, match=r"pip install -c constraints.txt gcsfs"):
        find_remote("gs://bucket/*.txt", UNTRUSTING)


def test_a_file_found_earlier_is_checked_again_before_it_is_fetched(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page()
    with pytest.raises(CorpusError, match="not one of trusted_hosts"):
        fetch(RemoteFile(site.url("/a.txt"), 5, 'etag "one"'), access=UNTRUSTING, downloads=tmp_path)
    assert site.requests == []
