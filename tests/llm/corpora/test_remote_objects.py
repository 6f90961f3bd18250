"""Remote files of object stores: from a real one on loopback, by name and by pattern."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_sites import UNTRUSTING, kept

from llm.corpora.addresses import RemoteAccess
from llm.corpora.remote import fetch, find_remote
from llm.errors import CorpusError, DownloadError

pytestmark = pytest.mark.usefixtures("no_proxy")


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
