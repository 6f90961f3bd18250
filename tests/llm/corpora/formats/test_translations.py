"""Translations: line by line, in a translation memory, in a gettext catalog."""

from __future__ import annotations

import pytest
from local_reading import defects, fields_of, read, read_all

from llm.corpora.base import Record, Unreadable
from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.errors import CorpusError
from llm.pieces import pieces_of


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
