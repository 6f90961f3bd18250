"""Remote files: from real servers on loopback, each version once, and only whole ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from remote_sites import TRUSTED, UNTRUSTING, Page, Site, kept

from llm.corpora.addresses import RemoteAccess
from llm.corpora.remote import RemoteFile, fetch, find_remote
from llm.errors import CorpusError, DownloadError

pytestmark = pytest.mark.usefixtures("no_proxy")


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


def test_an_error_page_is_not_taken_for_the_file(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page()
    (file,) = find_remote(site.url("/a.txt"), TRUSTED)
    site.pages["/a.txt"] = Page(b"sorry", status=503)
    with pytest.raises(DownloadError, match="the server answered 503 Service Unavailable"):
        fetch(file, access=TRUSTED, downloads=tmp_path)
    assert kept(tmp_path) == []


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


def test_a_file_found_earlier_is_checked_again_before_it_is_fetched(site: Site, tmp_path: Path) -> None:
    site.pages["/a.txt"] = Page()
    with pytest.raises(CorpusError, match="not one of trusted_hosts"):
        fetch(RemoteFile(site.url("/a.txt"), 5, 'etag "one"'), access=UNTRUSTING, downloads=tmp_path)
    assert site.requests == []
