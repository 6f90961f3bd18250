"""Translation memories (TMX 1.4), unit by unit, in flat memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from llm.corpora.base import Record, Unreadable
from llm.corpora.formats.base import FormatOptions, Item, OpenFile
from llm.errors import CorpusError

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def read_tmx(files: Iterable[OpenFile], options: FormatOptions) -> Iterator[Item]:
    """{"source", "target"} of each unit that has both of `options.languages`; markup within a segment is left out.

    Raises CorpusError with the line where a file stops being XML; entities that a file declares are not expanded.
    """
    from lxml import etree  # here: other formats do without it

    for file in files:
        units = etree.iterparse(
            file.stream, events=("end",), tag="{*}tu", resolve_entities=False, no_network=True, huge_tree=False
        )
        position = 0
        try:
            for _, unit in units:
                position += 1
                yield _item(unit, options.languages, origin=file.name, position=position)
                # What was read is forgotten, or the tree would grow to the whole file.
                unit.clear()
                while unit.getprevious() is not None:
                    del unit.getparent()[0]
        except etree.XMLSyntaxError as error:
            raise CorpusError(f"{file.name}: not readable as tmx ({error})", remedy="correct the file") from None
        if position == 0:
            yield Unreadable("empty_file", "holds no translation unit", file.name, 0)


def _item(unit: Any, languages: tuple[str, ...], *, origin: str, position: int) -> Item:
    segments: dict[str, str] = {}
    for variant in unit.iterfind("{*}tuv"):
        language = variant.get(_LANGUAGE) or variant.get("lang") or ""
        segment = variant.find("{*}seg")
        for wanted in languages:
            if segment is not None and language.lower().replace("_", "-").split("-")[0] == wanted.lower().split("-")[0]:
                segments.setdefault(wanted, "".join(segment.itertext()))
    missing = [language for language in languages if language not in segments]
    if missing:
        return Unreadable("no_translation", f"no segment in {' and '.join(missing)}", origin, position, bad=False)
    source, target = (segments[language] for language in languages)
    return Record(None, {"source": source, "target": target}, origin, position)
