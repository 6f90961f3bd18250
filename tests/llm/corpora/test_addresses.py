"""Addresses of remote files: told from paths, trusted by their host, and shown without their secrets."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from llm.corpora.addresses import RemoteAccess, is_remote, shown
from llm.errors import CorpusError


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
