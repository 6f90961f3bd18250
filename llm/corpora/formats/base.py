"""What every reader of a format takes and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from pydantic import Field, model_validator

from llm.config import Config
from llm.corpora.base import Record, Unreadable

FieldName = Literal["text", "label", "source", "target"]
Item = Record | Unreadable


@dataclass(frozen=True)
class OpenFile:
    """A file that is being read: the name that is shown for it, and its decompressed bytes.

    Where only a piece is read: the number of its first line, and the offset of its first byte.
    """

    name: str
    stream: BinaryIO
    line: int = 1
    offset: int = 0


class ColumnOptions(Config):
    """What the columns of a table mean."""

    columns: dict[FieldName, str] = Field(
        {}, description='tables: the column that holds each field, such as {"text": "body", "label": "topic"}'
    )
    group_column: str | None = Field(
        None, description="tables: rows alike in this column share a split; none: identical rows do"
    )

    @model_validator(mode="after")
    def _columns_name_a_text(self) -> ColumnOptions:
        if self.columns and not {"text", "source"} & set(self.columns):
            raise ValueError("columns must name the column of the field text, or of source and target")
        return self


class FormatOptions(ColumnOptions):
    """Options that several formats share."""

    header: bool = Field(
        True, description='csv, tsv: the first row names the columns; without, they are named "1", "2" and so on'
    )
    document: Literal["file", "paragraph", "line"] = Field(
        "paragraph", description="txt only: what one record is; blank lines part paragraphs"
    )
    languages: tuple[str, ...] = Field(
        (), description="tmx: the languages to translate from and to, such as [en, de]; en is en-US too"
    )
    longest: int = Field(
        10_000_000, ge=1, description="bytes of the longest line, row or whole file that is read as one; more is bad"
    )


# Reads the files one after another, each open while it is read.
Reader = Callable[[Iterable[OpenFile], FormatOptions], Iterator[Item]]
