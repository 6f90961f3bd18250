"""JSON lines: what the fast parser reads by the block is what a strict one reads line by line."""

from __future__ import annotations

import io
import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llm.corpora.base import Record, Unreadable
from llm.corpora.formats.base import FormatOptions, OpenFile
from llm.corpora.formats.json_lines import read_json_lines

OPTIONS = FormatOptions(columns={"text": "text", "label": "x"})
# Ways to write a key, some of which are the same key, or end as a quote within a text would.
KEYS = st.sampled_from(['"text"', '"te\\u0078t"', '"x"', '"x\\\\"', '"x:"', '"x: "', '":"', '""', '"x\\":"'])
VALUES = st.sampled_from(
    [
        *('"a"', '"text"', '": b"', '":"', '"a\\":b"', '"\\\\"', '"\\\\\\":"', '"é\\u00e9"', '"x:\\\\"', '""'),
        *("1", "12345678901234567890123", "1.5", "true", "null", "NaN", '"\\ud800"', '"\n"'),
        *('{"k":1}', '{"k":1,"k":2}', '[{"text":"b"}]', "{", "["),
    ]
)
MEMBERS = st.tuples(KEYS, st.sampled_from([":", " : ", ": "]), VALUES).map("".join)
LINES = st.one_of(
    st.lists(MEMBERS, max_size=4).map(lambda members: "{" + ", ".join(members) + "}"),
    st.just('{"text":"plain","x":"y"}'),
    st.sampled_from(["", " ", "[]", '"text"', '{"text":"a"', "7"]),
)


def by_block(text: str) -> list[Any]:
    items = read_json_lines([OpenFile("file", io.BytesIO(text.encode()))], OPTIONS)
    return [item if isinstance(item, Record) else (item.defect, item.position, item.offset) for item in items]


def strictly(line: str) -> str | dict[str, str]:
    """The fields of a line by Python's own parser, or the defect."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise LookupError("duplicate_key")
        return dict(pairs)

    def constant(name: str) -> Any:
        raise LookupError("not_a_number")

    try:
        row = json.loads(line, object_pairs_hook=unique, parse_constant=constant)
    except LookupError as error:
        return str(error.args[0])
    except ValueError:
        return "not_json"
    if not isinstance(row, dict):
        return "not_an_object"
    fields = {}
    for field, column in OPTIONS.columns.items():
        if column not in row:
            return "missing_column"
        value = row[column]
        if value is not None and type(value) not in (str, int):
            return "not_text"
        fields[str(field)] = "" if value is None else str(value)
        if re.search("[\ud800-\udfff]", fields[field]):
            return "lone_surrogate"
    return fields


@settings(derandomize=True, deadline=None, max_examples=400)
@given(lines=st.lists(LINES, min_size=1, max_size=12))
def test_lines_read_together_are_those_read_strictly_one_by_one(lines: list[str]) -> None:
    expected, offset = [], 0
    # A value with a line end in it makes two lines.
    for number, line in enumerate("\n".join(lines).split("\n"), start=1):
        if line.strip():
            found = strictly(line)
            expected.append((found, number, offset) if isinstance(found, str) else Record(None, found, "file", number))
        offset += len(line.encode()) + 1
    found = by_block("\n".join(lines) + "\n")
    assert found == expected or lines == [""]
    assert [item.position for item in found if isinstance(item, Record)] == [
        item.position for item in expected if isinstance(item, Record)
    ]


def test_a_line_that_is_too_long_is_told_though_it_is_whole_json() -> None:
    options = OPTIONS.model_copy(update={"longest": 30})
    short, long = '{"text":"a","x":"y"}', '{"text":"aaaaaaaaaaaaaaaaaaaa","x":"y"}'
    stream = io.BytesIO("\n".join([short, long, short]).encode())
    items = list(read_json_lines([OpenFile("file", stream)], options))
    assert [item.position for item in items] == [1, 2, 3]
    assert isinstance(items[1], Unreadable)
    assert (items[1].defect, items[1].offset) == ("too_large", len(short) + 1)
