"""Files at an address are read like those on this machine, and their secrets stay out of what is written."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from remote_sites import Page, Site

from llm.cleaning.config import CleaningConfig
from llm.corpora.addresses import WITH_SECRETS
from llm.corpora.local_files import LocalFiles, LocalFilesConfig, LocalFilesPart
from llm.errors import CorpusError
from llm.files import sha256_of
from llm.ingest.corpus import corpus_stage
from llm.pieces import pieces_of
from llm.splits import SplitConfig
from llm.stages import Stage


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Of a folder that a server on this machine gives out."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_at_an_address_is_read_like_one_here(address: str, tmp_path: Path) -> None:
    (tmp_path / "served" / "a.txt.gz").write_bytes(gzip.compress(b"One.\n\nTwo.\n"))
    url = f"{address}/a.txt.gz?token=secret"
    config = LocalFilesConfig(format="txt", paths=(url,), remote={"trusted_hosts": ["127.0.0.1"]})
    corpus = LocalFiles()
    records = list(corpus.records(config, downloads=tmp_path))
    assert [(record.fields["text"], record.origin, record.position) for record in records] == [
        ("One.", f"{address}/a.txt.gz", 1),
        ("Two.", f"{address}/a.txt.gz", 3),
    ]
    assert (
        list(corpus.parts(config, pieces=pieces_of))
        == list(corpus.content(config, checksum=sha256_of))
        == [f"{address}/a.txt.gz"]
    )
    assert corpus.size(LocalFilesPart(**dict(config))) == (tmp_path / "served" / "a.txt.gz").stat().st_size
    assert "secret" not in str(corpus.origin(config))


def test_an_address_of_this_machine_is_refused_unless_it_is_trusted(address: str) -> None:
    config = LocalFilesConfig(format="txt", paths=(f"{address}/a.txt",))
    with pytest.raises(CorpusError, match="http"):
        LocalFiles().content(config, checksum=sha256_of)


def test_what_is_written_down_of_an_address_holds_no_secret_and_who_fetches_it_gets_all() -> None:
    urls = ("https://user:secret@example.org/a.txt?signature=secret", "s3://bucket/a?.txt", "here/what?.txt")
    config = LocalFilesPart(format="txt", paths=urls)
    written = config.model_dump(mode="json")
    assert written["paths"] == ["https://example.org/a.txt", "s3://bucket/a?.txt", "here/what?.txt"]
    handed_on = json.loads(json.dumps(config.model_dump(mode="json", context=WITH_SECRETS)))
    assert LocalFilesPart.model_validate(handed_on) == config


def test_of_two_addresses_that_look_alike_both_make_the_content(address: str, tmp_path: Path) -> None:
    (tmp_path / "served" / "a.txt").write_text("One.", encoding="utf-8")

    def content(*queries: str) -> dict[str, str]:
        paths = tuple(f"{address}/a.txt?id={query}" for query in queries)
        config = LocalFilesConfig(format="txt", paths=paths, remote={"trusted_hosts": ["127.0.0.1"]})
        return LocalFiles().content(config, checksum=sha256_of)

    assert content("1", "2") == content("1", "2")
    assert len({str(content(*ids)) for ids in (("1", "2"), ("3", "2"), ("1", "3"), ("2", "1"), ("2",))}) == 5


def test_a_night_asks_for_a_file_once_and_fetches_it_if_it_is_new(site: Site, tmp_path: Path, no_proxy: None) -> None:
    site.pages["/a.txt?key=secret"] = Page("\n".join(f"Text {number}" for number in range(60)).encode())
    config = LocalFilesConfig(
        format="txt", document="line", paths=(site.url("/a.txt?key=secret"),), remote={"trusted_hosts": ["127.0.0.1"]}
    )

    def night() -> Stage:
        splits = SplitConfig(validation=0.3, test=0.3)
        cleaning = CleaningConfig()
        return corpus_stage(config, cleaning, splits, fields=("text",), root=tmp_path / "stages", downloads=tmp_path)

    first, second = night(), night()
    assert (first.facts["kept"], second.reused) == (60, True)
    assert site.requests == [("HEAD", "/a.txt?key=secret"), ("GET", "/a.txt?key=secret"), ("HEAD", "/a.txt?key=secret")]
    written = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*.json")]
    assert len(written) == 2  # the manifests of the shard and of the corpus
    assert not any("secret" in text for text in written)
