"""Your own files in every format, and what is said about a file that cannot be read."""

from __future__ import annotations

import gzip
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from llm.corpora.base import Record, Unreadable
from llm.corpora.local_files import LocalFiles, LocalFilesConfig, LocalFilesPart
from llm.errors import CorpusError
from llm.files import sha256_of
from llm.pieces import pieces_of

TOPICS = {"text": "body", "label": "topic"}


def read_all(**options) -> list[Record | Unreadable]:
    return list(LocalFiles().records(LocalFilesConfig(**options), downloads=Path("unused")))


def read(**options) -> list[Record]:
    """All records, where everything is one."""
    items = read_all(**options)
    assert not any(isinstance(item, Unreadable) for item in items), items
    return items


def defects(**options) -> list[tuple[str, int, int | None]]:
    """Defect, position and offset of all that is no record."""
    items = read_all(**options)
    return [(item.defect, item.position, item.offset) for item in items if isinstance(item, Unreadable)]


def fields_of(records: list[Record]) -> list[dict[str, str]]:
    return [dict(record.fields) for record in records]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.mark.parametrize(
    ("document", "texts"),
    [
        ("file", ["One.\nStill one.\n\n \n\nTwo.\u2028Still two.\n"]),
        ("paragraph", ["One.\nStill one.", "Two.\u2028Still two."]),
        ("line", ["One.", "Still one.", "", " ", "", "Two.\u2028Still two."]),
    ],
)
def test_a_text_file_is_one_document_or_one_a_paragraph_or_line(write, document: str, texts: list[str]) -> None:
    path = write("a.txt", "One.\nStill one.\n\n \n\nTwo.\u2028Still two.\n")
    assert fields_of(read(format="txt", paths=(path,), document=document)) == [{"text": text} for text in texts]


def test_a_record_says_where_it_was_read_and_leaves_its_group_to_its_text(write) -> None:
    path = write("a.txt", "Yes.\nAnd so on.\n\n\nNo.\n")
    records = read(format="txt", paths=(path,))
    assert [(record.group, record.origin, record.position) for record in records] == [(None, path, 1), (None, path, 5)]


def test_patterns_are_expanded_in_order_and_no_file_is_read_twice(write, tmp_path: Path) -> None:
    for name in ("b/2.txt", "a/1.txt", "a/deep/3.txt", "a/4.md"):
        write(name, name)
    records = read(format="txt", paths=(str(tmp_path / "a/1.txt"), str(tmp_path / "**/*.txt")))
    assert [record.fields["text"] for record in records] == ["a/1.txt", "a/deep/3.txt", "b/2.txt"]


def test_a_name_with_brackets_is_not_taken_for_a_pattern(write) -> None:
    assert fields_of(read(format="txt", paths=(write("notes [1].txt", "Here."),))) == [{"text": "Here."}]


def test_a_byte_order_mark_is_no_part_of_the_text(write) -> None:
    paths = (write("a.txt", b"\xef\xbb\xbfHello"), write("b.txt", "World"))
    for document in ("file", "paragraph", "line"):
        records = read(format="txt", paths=paths, document=document)
        assert fields_of(records) == [{"text": "Hello"}, {"text": "World"}]
    assert fields_of(
        read(format="csv", paths=(write("a.csv", b"\xef\xbb\xbfbody,x\nA,1\n"),), columns={"text": "body"})
    ) == [{"text": "A"}]


ROWS = [
    {"body": "Yes, please", "topic": "sale", "author": "ann", "id": 7},
    {"body": 'She said "no"', "topic": "NA", "author": "bob", "id": 8},
    {"body": "Grüße\tund mehr", "topic": "null", "author": "ann", "id": 9},
]


def as_jsonl(rows: list[dict], path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n", encoding="utf-8")


def as_csv(rows: list[dict], path: Path) -> None:
    pd.DataFrame(rows).to_csv(path, index=False)


def as_parquet(rows: list[dict], path: Path) -> None:
    pd.DataFrame(rows).to_parquet(path)


TABLES = {"jsonl": as_jsonl, "csv": as_csv, "parquet": as_parquet}


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_columns_become_fields_and_the_group(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    TABLES[kind](ROWS, path)
    records = read(format=kind, paths=(str(path),), columns=TOPICS, group_column="author")
    assert records == [Record(row["author"], {"text": row["body"], "label": row["topic"]}) for row in ROWS]


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_whole_numbers_are_labels_too(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    TABLES[kind](ROWS, path)
    records = read(format=kind, paths=(str(path),), columns={"text": "body", "label": "id"})
    assert [record.fields["label"] for record in records] == ["7", "8", "9"]


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_a_missing_value_is_blank_and_whole_numbers_beside_it_stay_whole(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    rows = [{"body": "A", "id": 1}, {"body": None, "id": 2}, {"body": "C", "id": None}]
    if kind == "csv":
        path.write_text("body,id\nA,1\n,2\nC,\n")
    elif kind == "jsonl":
        as_jsonl(rows, path)
    else:
        # Without pandas' own metadata, as other programs write it.
        pyarrow.parquet.write_table(pyarrow.table({"body": ["A", None, "C"], "id": [1, 2, None]}), path)
    records = read(format=kind, paths=(str(path),), columns={"text": "body", "label": "id"})
    assert [tuple(record.fields.values()) for record in records] == [("A", "1"), ("", "2"), ("C", "")]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_column_that_does_not_exist_is_named_with_the_choice(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{kind}"
    TABLES[kind](ROWS, path)
    with pytest.raises(CorpusError, match=r"rows\.\w+: there is no column 'title'") as caught:
        read(format=kind, paths=(str(path),), columns={"text": "title"})
    assert caught.value.remedy == "choose from 'body', 'topic', 'author', 'id'"


def test_a_row_of_json_without_the_column_is_bad_by_itself(write) -> None:
    path = write("a.jsonl", '{"body": "a"}\n{"title": "b"}\n')
    assert defects(format="jsonl", paths=(path,), columns={"text": "body"}) == [("missing_column", 2, 14)]


def test_a_group_column_that_does_not_exist_is_named(tmp_path: Path) -> None:
    as_csv(ROWS, tmp_path / "rows.csv")
    with pytest.raises(CorpusError, match="no column 'writer'"):
        read(format="csv", paths=(str(tmp_path / "rows.csv"),), columns=TOPICS, group_column="writer")


def test_a_quoted_csv_cell_may_hold_newlines_and_commas(write) -> None:
    path = write("a.csv", 'body,topic\n"one,\ntwo",x\nthree,y\n')
    assert fields_of(read(format="csv", paths=(path,), columns=TOPICS)) == [
        {"text": "one,\ntwo", "label": "x"},
        {"text": "three", "label": "y"},
    ]


def test_quotes_mean_nothing_in_tsv(write) -> None:
    path = write("a.tsv", 'body\ttopic\n"Open\tx\nShut"\ty\n')
    assert fields_of(read(format="tsv", paths=(path,), columns=TOPICS)) == [
        {"text": '"Open', "label": "x"},
        {"text": 'Shut"', "label": "y"},
    ]


def test_a_table_without_a_header_has_numbered_columns(write) -> None:
    path = write("a.tsv", "ham\tSee you\nspam\tWin now\n")
    records = read(format="tsv", paths=(path,), columns={"text": "2", "label": "1"}, header=False)
    assert fields_of(records) == [{"text": "See you", "label": "ham"}, {"text": "Win now", "label": "spam"}]


def test_a_column_that_is_there_twice_is_an_error(write) -> None:
    with pytest.raises(CorpusError, match=r"a\.csv: the column 'body' is there twice"):
        read(format="csv", paths=(write("a.csv", "body,body\na,b\n"),), columns={"text": "body"})


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_row_that_does_not_fit_the_header_costs_itself_and_no_other(write, kind: str) -> None:
    rows = "body,topic\na,b\nd,e,f\n\ng\nh,i\n"
    path = write(f"a.{kind}", rows.replace(",", "\t" if kind == "tsv" else ","))
    options = {"format": kind, "paths": (path,), "columns": TOPICS}
    assert [item.fields["text"] for item in read_all(**options) if isinstance(item, Record)] == ["a", "h"]
    assert defects(**options) == [("cells", 3, 15), ("cells", 5, 22)]


def test_a_quote_that_nothing_closes_costs_its_own_row_and_no_other(write) -> None:
    path = write("a.csv", 'body,topic\n"open,x\nb,y\nc,z\n"q ""q"" q",w\n"bad"tail,v\nd,u\n')
    options = {"format": "csv", "paths": (path,), "columns": TOPICS}
    texts = [item.fields["text"] for item in read_all(**options) if isinstance(item, Record)]
    assert texts == ["b", "c", 'q "q" q', "d"]
    assert defects(**options) == [("quotes", 2, 11), ("quotes", 6, 41)]


def test_a_quote_that_nothing_closes_until_the_end_is_found_too(write) -> None:
    path = write("a.csv", 'body,topic\nb,y\n"open,x\n' + "c,z\n" * 1000)
    options = {"format": "csv", "paths": (path,), "columns": TOPICS}
    assert defects(**options) == [("quotes", 3, 15)]
    assert len(read_all(**options)) == 1002


def test_a_row_does_not_go_on_across_a_line_that_cannot_be_read(write) -> None:
    path = write("a.csv", b'body,topic\n"one\n\xff\ntwo",x\nthree,y\n')
    assert [d[0] for d in defects(format="csv", paths=(path,), columns=TOPICS)] == ["quotes", "not_utf8"]


def test_parallel_lines_become_pairs(write) -> None:
    options = {"paths": (write("a.en", "One\nTwo\u2028too\n"),), "target_paths": (write("a.de", "Eins\r\nZwei auch"),)}
    assert fields_of(read(format="parallel", **options)) == [
        {"source": "One", "target": "Eins"},
        {"source": "Two\u2028too", "target": "Zwei auch"},
    ]


def test_a_line_that_cannot_be_read_takes_its_partner_with_it(write) -> None:
    options = {
        "paths": (write("a.en", b"One\nTw\xff\nThree\n"),),
        "target_paths": (write("a.de", "Eins\nZwei\nDrei\n"),),
    }
    items = read_all(format="parallel", **options)
    assert [item.fields["target"] for item in items if isinstance(item, Record)] == ["Eins", "Drei"]
    assert defects(format="parallel", **options) == [("not_utf8", 2, 4)]


def test_parallel_files_of_unequal_length_are_an_error_with_the_line(write) -> None:
    options = {"paths": (write("a.en", "One\nTwo\nThree\n"),), "target_paths": (write("a.de", "Eins\n"),)}
    with pytest.raises(CorpusError, match=r"a\.de ends before line 2, but .*a\.en goes on"):
        read(format="parallel", **options)


def test_parallel_lists_of_unequal_length_are_an_error(write) -> None:
    options = {"paths": (write("a.en", "One"), write("b.en", "Two")), "target_paths": (write("a.de", "Eins"),)}
    with pytest.raises(CorpusError, match="paths name 2 files, but target_paths 1"):
        LocalFiles().parts(LocalFilesConfig(format="parallel", **options), pieces=pieces_of)


TMX = """<?xml version="1.0"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd" [<!ENTITY secret SYSTEM "file:///etc/hostname">]>
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en-US"><seg>Press <bpt i="1"/>OK<ept i="1"/>.</seg></tuv>
<tuv xml:lang="DE"><seg>OK drücken.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Only here</seg></tuv><tuv xml:lang="fr"><seg>Seulement</seg></tuv></tu>
<tu><tuv lang="en"><seg>Tea &amp; &secret;cake</seg></tuv><tuv lang="de"><seg>Tee und Kuchen</seg></tuv></tu>
</body></tmx>"""


def test_units_of_a_translation_memory_become_pairs(write) -> None:
    options = {"format": "tmx", "paths": (write("a.tmx", TMX),), "languages": ("en", "de")}
    pairs = [item.fields for item in read_all(**options) if isinstance(item, Record)]
    assert pairs == [
        {"source": "Press OK.", "target": "OK drücken."},
        {"source": "Tea & &secret;cake", "target": "Tee und Kuchen"},
    ]
    (found,) = (item for item in read_all(**options) if isinstance(item, Unreadable))
    assert (found.defect, found.position, found.bad) == ("no_translation", 2, False)


def test_a_translation_memory_that_breaks_off_is_an_error_with_the_line(write) -> None:
    path = write("a.tmx", TMX[:300])
    with pytest.raises(CorpusError, match=r"a\.tmx: not readable as tmx .*line \d"):
        read(format="tmx", paths=(path,), languages=("en", "de"))


CATALOG = """msgid ""
msgstr "Content-Type: text/plain; charset=UTF-8\\n"

msgid "Open"
msgstr "Öffnen"

#, fuzzy
msgid "Close"
msgstr "Schluss"

msgid "Later"
msgstr ""

msgid "%d file"
msgid_plural "%d files"
msgstr[0] "%d Datei"
msgstr[1] "%d Dateien"

#~ msgid "Gone"
#~ msgstr "Weg"
"""


def test_entries_of_a_catalog_become_pairs_and_what_is_not_translated_does_not(write) -> None:
    options = {"format": "po", "paths": (write("de.po", CATALOG),)}
    items = read_all(**options)
    assert [tuple(item.fields.values()) for item in items if isinstance(item, Record)] == [
        ("Open", "Öffnen"),
        ("%d file", "%d Datei"),
        ("%d files", "%d Dateien"),
    ]
    rest = [item for item in items if isinstance(item, Unreadable)]
    assert [item.defect for item in rest] == ["fuzzy", "no_translation", "obsolete"]
    assert not any(item.bad for item in rest)


def test_a_file_that_is_no_catalog_is_an_error(write) -> None:
    with pytest.raises(CorpusError, match=r"a\.po: not readable as po"):
        read(format="po", paths=(write("a.po", 'msgid "Open\nnonsense here\n'),))


@pytest.mark.parametrize("name", ["a.txt.bz2", "a.7z", "a.csv.xz"])
def test_what_is_packed_in_another_way_is_refused(write, name: str) -> None:
    with pytest.raises(CorpusError, match=r"is not read") as caught:
        read(format="txt", paths=(write(name, "x"),))
    assert ".gz" in caught.value.remedy


def test_the_files_of_an_archive_are_read_one_after_another(write, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("one/a.txt", "One.\n\nTwo.\n")
        archive.writestr("b.txt", "Three.\n")
    records = read(format="txt", paths=(str(tmp_path / "a.zip"),))
    assert [record.fields["text"] for record in records] == ["One.", "Two.", "Three."]
    assert [(Path(record.origin).name, record.position) for record in records] == [
        ("a.txt", 1),
        ("a.txt", 3),
        ("a.zip: b.txt", 1),
    ]


def test_parquet_is_read_out_of_an_archive_too(tmp_path: Path) -> None:
    as_parquet(ROWS, tmp_path / "rows.parquet")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "rows.parquet", "rows.parquet")
    records = read(format="parquet", paths=(str(tmp_path / "a.zip"),), columns=TOPICS)
    assert [record.fields["text"] for record in records] == [row["body"] for row in ROWS]


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    for pattern in ("none.txt", "none/*.txt"):
        config = LocalFilesConfig(format="txt", paths=(str(tmp_path / pattern),))
        with pytest.raises(CorpusError, match="no such file"):
            LocalFiles().content(config, checksum=sha256_of)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is a folder") as caught:
        LocalFiles().content(LocalFilesConfig(format="txt", paths=(str(tmp_path),)), checksum=sha256_of)
    assert "*.txt" in caught.value.remedy


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("offset", [0, 5, (1 << 20) - 1, (1 << 20) + 7])
def test_bytes_that_are_not_utf8_are_located(write, kind: str, offset: int) -> None:
    path = write(f"a.{kind}", b"x" * offset + b"\xe9 and more\n")
    columns = {} if kind == "txt" else {"text": "body"}
    (found,) = read_all(format=kind, paths=(path,), columns=columns)
    assert isinstance(found, Unreadable)
    assert found.reason.startswith(f"byte {offset:,} (0xe9) is not UTF-8")


def test_a_character_cut_by_the_end_of_a_chunk_is_fine_and_by_the_end_of_the_file_is_not(write) -> None:
    start = (1 << 20) - 1
    good = write("good.txt", b"x" * start + "é".encode())
    assert read(format="txt", paths=(good,))[0].fields["text"].endswith("xé")
    cut = write("cut.txt", b"x" * start + b"\xc3")
    assert defects(format="txt", paths=(cut,)) == [("not_utf8", 1, 0)]


@pytest.mark.parametrize("document", ["line", "file"])
def test_a_line_or_file_that_is_too_large_is_bad_and_does_not_fill_the_memory(write, document: str) -> None:
    path = write("a.txt", "short\n" + "x" * 3_000_000 + "\nend\n")
    found = read_all(format="txt", paths=(path,), document=document, longest=1000)
    bad = [item for item in found if isinstance(item, Unreadable)]
    assert [item.defect for item in bad] == ["too_large"]
    assert len(bad[0].text) <= 200
    assert len(found) == (3 if document == "line" else 1)


@pytest.mark.parametrize(
    ("line", "defect"),
    [
        ('{"body": ', "not_json"),
        ('{"body": "a"} {"body": "b"}', "not_json"),
        ('["a"]', "not_an_object"),
        ('{"body": ["a"]}', "not_text"),
        ('{"body": 1.5}', "not_text"),
        ('{"body": true}', "not_text"),
        ('{"body": NaN}', "not_a_number"),
        ('{"body": "a", "other": -Infinity}', "not_a_number"),
        ('{"body": "a", "body": "b"}', "duplicate_key"),
        ('{"body": "a", "more": [{"k": 1, "k": 2}]}', "duplicate_key"),
        ('{"body": "\\ud800"}', "lone_surrogate"),
        ("[" * 100_000, "nested_too_deep"),
        ('{"body":' + "[" * 10_000 + "]" * 10_000 + "}", "nested_too_deep"),
    ],
)
def test_a_bad_line_of_json_is_located_and_the_next_is_read(write, line: str, defect: str) -> None:
    path = write("a.jsonl", '{"body": "fine"}\n\n' + line + '\n{"body": "fine too"}\n')
    options = {"format": "jsonl", "paths": (path,), "columns": {"text": "body"}}
    assert defects(**options) == [(defect, 3, 18)]
    assert len(read_all(**options)) == 3


def test_a_file_that_is_no_parquet_is_an_error(write) -> None:
    with pytest.raises(CorpusError, match=r"a\.parquet: not readable as parquet"):
        read(format="parquet", paths=(write("a.parquet", "not parquet"),), columns={"text": "body"})


def test_the_content_changes_with_a_file(write) -> None:
    config = LocalFilesConfig(format="txt", paths=(write("a.txt", "One"),))
    before = LocalFiles().content(config, checksum=sha256_of)
    write("a.txt", "Two")
    assert LocalFiles().content(config, checksum=sha256_of) != before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"format": "csv"}, "columns belongs to"),
        ({"format": "txt", "columns": {"text": "a"}}, "columns belongs to"),
        ({"format": "csv", "columns": {"label": "a"}}, "must name the column of the field text"),
        ({"format": "csv", "columns": {"texd": "a"}}, "'text', 'label', 'source' or 'target'"),
        ({"format": "parallel"}, "target_paths belongs to"),
        ({"format": "txt", "target_paths": ("b",)}, "target_paths belongs to"),
        ({"format": "txt", "group_column": "a"}, "group_column belongs to"),
        ({"format": "tmx"}, "languages belongs to"),
        ({"format": "tmx", "languages": ("en",)}, "languages belongs to"),
        ({"format": "txt", "languages": ("en", "de")}, "languages belongs to"),
        ({"format": "csv", "columns": {"text": "a"}, "document": "line"}, "document belongs to"),
        ({"format": "jsonl", "columns": {"text": "a"}, "header": False}, "header belongs to"),
    ],
)
def test_options_that_contradict_the_format_are_refused(options: dict, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        LocalFilesConfig(paths=("a",), **options)


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
