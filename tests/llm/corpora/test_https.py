"""Asking servers over https: nothing comes from where it must not, and no secret is told."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote_sites import TRUSTED, UNTRUSTING, Page, Site

from llm.corpora.remote import fetch, find_remote
from llm.errors import CorpusError, DownloadError, NightshiftError

pytestmark = pytest.mark.usefixtures("no_proxy")

PUBLIC = "93.184.215.14"
NOT_PUBLIC = (
    "localhost 127.0.0.1 127.1 2130706433 0x7f000001 0177.0.0.1 0 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 "
    "169.254.169.254 0xa9fea9fe 100.100.100.200 192.0.0.192 168.63.129.16 224.0.0.1 240.0.0.1 255.255.255.255 "
    "[::1] [::] [::ffff:127.0.0.1] [::ffff:a9fe:a9fe] [::7f00:1] [fe80::1] [fd00:ec2::254] [fec0::1] [ff02::1] "
    "[2002:7f00:1::] [64:ff9b::a9fe:a9fe] [64:ff9b:1::1] [2001:db8::1]"
)


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


@pytest.mark.parametrize("scheme", ["ftp", "sftp", "webhdfs", "memory", "reference", "zip"])
def test_protocols_that_lead_around_the_trusted_hosts_are_refused(scheme: str) -> None:
    with pytest.raises(CorpusError, match="only https"):
        find_remote(f"{scheme}://a.txt", TRUSTED)


@pytest.mark.parametrize(
    "pattern", ["https://me:s3cret@/a", "https://me:s3c/ret@host/a", "https://[s3cret/a", "https:///s3cret?s3cret"]
)
def test_an_address_without_a_sound_host_is_refused_and_its_secrets_kept(pattern: str) -> None:
    with pytest.raises(CorpusError, match="names no host") as caught:
        find_remote(pattern, UNTRUSTING)
    assert "s3c/ret" not in str(caught.value)
    assert "me:" not in str(caught.value)


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


@pytest.mark.parametrize(
    ("status", "error"), [(401, DownloadError), (403, DownloadError), (404, CorpusError), (500, DownloadError)]
)
def test_an_error_of_the_server_is_told_without_secrets(status: int, error: type[NightshiftError], site: Site) -> None:
    site.pages["/a.txt?token=s3cret"] = Page(b"", status=status)
    with pytest.raises(error, match=f"the server answered {status}|no such file") as caught:
        find_remote(site.url("/a.txt?token=s3cret", host="me:s3cret@127.0.0.1"), TRUSTED)
    assert site.url("/a.txt") in str(caught.value)
    assert "s3cret" not in str(caught.value)


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
