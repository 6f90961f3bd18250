"""Where text comes from: the sources by name, and the one configuration type that covers them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from llm.config import only_chosen
from llm.corpora.base import Corpus, SourceConfig
from llm.corpora.hub_dataset import HubDataset
from llm.corpora.interface_strings import InterfaceStrings
from llm.corpora.local_files import LocalFiles
from llm.corpora.plays import Plays
from llm.corpora.sql_query import SqlQuery
from llm.corpora.string_languages import StringLanguages

CORPORA: dict[str, Corpus[Any]] = {
    "plays": Plays(),
    "interface_strings": InterfaceStrings(),
    "string_languages": StringLanguages(),
    "local_files": LocalFiles(),
    "hub_dataset": HubDataset(),
    "sql_query": SqlQuery(),
}

if TYPE_CHECKING:
    CorpusConfig = SourceConfig
else:
    # Read off the dict, so that one line above is all that a new source needs.
    _KINDS = tuple(corpus.config for corpus in CORPORA.values())
    CorpusConfig = Annotated[
        Union[_KINDS],  # noqa: UP007
        Field(discriminator="source"),
        only_chosen("source", *_KINDS),
    ]
