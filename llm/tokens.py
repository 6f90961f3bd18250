"""Token tables: a split's rows as flat arrays of token ids, one safetensors file a split.

Neither side holds a split in memory: the stage reads and writes it a batch at a time, and a table that was read is a
map of its file, of which only what is touched is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from llm.array_file import ArrayWriter, map_arrays
from llm.batching import in_order
from llm.errors import StageError
from llm.files import read_jsonl
from llm.splits import SPLITS
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import BATCH_CHARACTERS, TextTokenizer

if TYPE_CHECKING:
    from llm.families.base import Family, Row

_FACTS = "facts"
# Raise it also when the `tokenize` of any family writes something else for the same rows.
_STAGE_VERSION = 4


@dataclass(frozen=True, eq=False)
class TokenColumn:
    """Token ids of N rows: row i is `ids[offsets[i]:offsets[i + 1]]`.

    ids: (sum of lengths,) int32; offsets: (N + 1,) int64, from 0 up to the number of ids.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.ids.dtype != np.int32 or self.offsets.dtype != np.int64:
            raise ValueError(f"ids must be int32 and offsets int64, not {self.ids.dtype} and {self.offsets.dtype}")
        bounds = (self.offsets[0], self.offsets[-1]) if self.offsets.size else None
        if bounds != (0, self.ids.size) or bool(np.any(self.offsets[1:] < self.offsets[:-1])):
            raise ValueError(f"offsets must rise from 0 to the number of ids ({self.ids.size})")

    @classmethod
    def of(cls, rows: Iterable[Sequence[int] | NDArray[np.int32]]) -> TokenColumn:
        """A column of `rows`, each a sequence of token ids."""
        listed = list(rows)
        ids = np.fromiter(chain.from_iterable(listed), dtype=np.int32)
        return cls._of_lengths(ids, np.fromiter(map(len, listed), dtype=np.int64))

    @classmethod
    def encoded(cls, texts: Sequence[str], tokenizer: TextTokenizer, *, special_tokens: bool = True) -> TokenColumn:
        """A column of `texts`, within the tokenizer's template or bare.

        Raises InputError that gives the number of the first text that is not text that UTF-8 can write.
        """
        return cls._of_lengths(*tokenizer.encode_flat(texts, special_tokens=special_tokens))

    @classmethod
    def _of_lengths(cls, ids: NDArray[np.int32], lengths: NDArray[np.int64]) -> TokenColumn:
        return cls(ids=ids, offsets=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]))

    def closed(self, token: int) -> TokenColumn:
        """The same rows, each with `token` behind it."""
        ids = np.insert(self.ids, self.offsets[1:], token)
        return TokenColumn(ids=ids, offsets=self.offsets + np.arange(self.offsets.size))

    def __len__(self) -> int:
        return self.offsets.size - 1

    def row(self, index: int) -> NDArray[np.int32]:
        """(length of the row,) int32: a view, not a copy."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a column of {len(self)} rows")
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) int64: tokens in each row."""
        return np.diff(self.offsets)

    def slice(self, start: int, stop: int) -> TokenColumn:
        """Rows start, ..., stop - 1."""
        offsets = self.offsets[start : stop + 1]
        return TokenColumn(ids=self.ids[offsets[0] : offsets[-1]], offsets=offsets - offsets[0])


@dataclass(frozen=True, eq=False)
class Survey:
    """What a table holds besides its rows: see TokenTable."""

    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TokenTable:
    """N rows: token columns by name, and numbers by name ((N,) int64, such as "label", or (N, ...) of any kind).

    `constants` are arrays that belong to no row (such as the tokenizer's merges), `facts` whatever else JSON can hold.
    """

    columns: Mapping[str, TokenColumn]
    numbers: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        lengths |= {name: len(values) for name, values in self.numbers.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"every column of a token table needs the same number of rows: {lengths}")

    @classmethod
    def of(
        cls,
        columns: Mapping[str, TokenColumn],
        survey: Survey,
        *,
        numbers: Mapping[str, NDArray[np.int64]] | None = None,
    ) -> TokenTable:
        """A table of rows of a corpus, with what the survey of the corpus found."""
        return cls(columns=columns, numbers=numbers or {}, constants=survey.constants, facts=survey.facts)

    def __len__(self) -> int:
        lengths = [len(column) for column in self.columns.values()] or [len(values) for values in self.numbers.values()]
        return lengths[0]

    def slice(self, start: int, stop: int) -> TokenTable:
        """Rows start, ..., stop - 1; the facts are kept."""
        return TokenTable(
            columns={name: column.slice(start, stop) for name, column in self.columns.items()},
            numbers={name: values[start:stop] for name, values in self.numbers.items()},
            constants=self.constants,
            facts=self.facts,
        )

    def save(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        with TableWriter(path) as writer:
            writer.add(self)
            writer.save(Survey(self.constants, self.facts))

    @classmethod
    def load(cls, path: Path) -> TokenTable:
        """Map what `save` wrote: arrays are read-only, and are read from the file where they are used.

        Raises StageError that names the file when it is missing or damaged.
        """
        try:
            arrays, metadata = map_arrays(path)
            return cls._of_arrays(arrays, json.loads(metadata[_FACTS]))
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise StageError(
                f"{path}: not a readable token table ({error})",
                remedy=f"delete {path.parent} and run again: the stage will be rebuilt",
            ) from None

    @classmethod
    def _of_arrays(cls, arrays: Mapping[str, NDArray[Any]], facts: dict[str, Any]) -> TokenTable:
        columns = {}
        numbers = {}
        constants = {}
        for name, array in arrays.items():
            if name.startswith("columns.") and name.endswith(".ids"):
                column = name.removeprefix("columns.").removesuffix(".ids")
                columns[column] = TokenColumn(ids=array, offsets=arrays[f"columns.{column}.offsets"])
            elif name.startswith("numbers."):
                numbers[name.removeprefix("numbers.")] = array
            elif name.startswith("constants."):
                constants[name.removeprefix("constants.")] = array
        return cls(columns=columns, numbers=numbers, constants=constants, facts=facts)


class TableWriter:
    """Writes a token table whose rows come in batches, and keeps count of them; for a `with` block."""

    def __init__(self, path: Path) -> None:
        self._arrays = ArrayWriter(path)
        self._rows = 0
        self._tokens: dict[str, int] = {}
        self._longest: dict[str, int] = {}

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._arrays.__exit__(kind, error, trace)

    def add(self, table: TokenTable) -> None:
        """Put the rows of `table` behind those before; its constants and facts are left out."""
        for name, column in table.columns.items():
            before = self._tokens.get(name)
            offsets = column.offsets if before is None else column.offsets[1:] + before
            self._arrays.append(f"columns.{name}.ids", column.ids)
            self._arrays.append(f"columns.{name}.offsets", offsets)
            self._tokens[name] = (before or 0) + int(column.ids.size)
            self._longest[name] = max(self._longest.get(name, 0), int(column.lengths.max(initial=0)))
        for name, values in table.numbers.items():
            self._arrays.append(f"numbers.{name}", values)
        self._rows += len(table)

    def save(self, survey: Survey) -> None:
        """Write one safetensors file, atomically, with the constants and facts of `survey`."""
        for name, values in survey.constants.items():
            self._arrays.append(f"constants.{name}", values)
        facts = json.dumps(survey.facts, sort_keys=True, ensure_ascii=False, allow_nan=False)
        self._arrays.save({_FACTS: facts})

    @property
    def sizes(self) -> dict[str, Any]:
        """Rows; tokens and the longest row of each column."""
        return {"rows": self._rows, "tokens": dict(self._tokens), "longest": dict(self._longest)}


def read_rows(corpus_folder: Path, split: str) -> Iterator[dict[str, str]]:
    """The rows of a split (train, validation, test) of a corpus stage folder, one after another."""
    return read_jsonl(corpus_folder / f"{split}.jsonl")


def rows_of(corpus_folder: Path, split: str) -> list[dict[str, str]]:
    """All rows of a split at once."""
    return list(read_rows(corpus_folder, split))


def tokens_stage(corpus: Stage, tokenizer: Stage, *, family: Family, root: Path) -> Stage:
    """Tokenize the three splits: train.safetensors, validation.safetensors, test.safetensors.

    The family surveys the rows of all splits at once, so that what it derives from them (the list of labels) is the
    same for each. Facts: rows, tokens and longest row by split, and the facts of the tables.
    """
    spec = StageSpec(
        name="tokens",
        version=_STAGE_VERSION,
        config={"family": family.name},
        inputs={"corpus": corpus, "tokenizer": tokenizer},
    )

    def build(folder: Path) -> dict[str, Any]:
        text_tokenizer = TextTokenizer.load(tokenizer.path)
        every = chain.from_iterable(read_rows(corpus.path, split) for split in SPLITS)
        survey = family.survey(every, text_tokenizer)
        sizes = {}
        for split in SPLITS:
            with TableWriter(folder / f"{split}.safetensors") as writer:
                rows = read_rows(corpus.path, split)
                for batch in in_order(rows, size=_characters, most=BATCH_CHARACTERS):
                    writer.add(_tokenized(batch, family, text_tokenizer, survey))
                writer.save(survey)
                sizes[split] = writer.sizes
        return {"splits": sizes, "table": survey.facts}

    return run_stage(spec, build, root=root)


def _tokenized(rows: Sequence[Row], family: Family, tokenizer: TextTokenizer, survey: Survey) -> TokenTable:
    table = family.tokenize(rows, tokenizer, survey)
    if len(table) != len(rows):
        raise ValueError(f"tokenize of {family.name} made {len(table)} table rows of {len(rows)} corpus rows")
    return table


def _characters(row: Row) -> int:
    return sum(map(len, row.values()))
