"""Token tables: a split's rows as flat arrays of token ids, one safetensors file a split."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from llm.errors import StageError
from llm.files import read_jsonl, write_atomically
from llm.splits import SPLITS
from llm.stages import Stage, StageSpec, run_stage
from llm.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from llm.families.base import Row

_FACTS = "facts"
# Raise it also when the `tokenize` of any family writes something else for the same rows.
_STAGE_VERSION = 3


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
        if bounds != (0, self.ids.size) or bool(np.any(np.diff(self.offsets) < 0)):
            raise ValueError(f"offsets must rise from 0 to the number of ids ({self.ids.size})")

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> TokenColumn:
        """A column of `rows`, each a sequence of token ids."""
        return cls._of_batches([list(rows)])

    @classmethod
    def encoded(cls, texts: Sequence[str], tokenizer: TextTokenizer, *, special_tokens: bool = True) -> TokenColumn:
        """A column of `texts`, tokenized on all cores, within the tokenizer's template or bare."""
        return cls._of_batches(tokenizer.encode_batches(texts, special_tokens=special_tokens))

    @classmethod
    def _of_batches(cls, batches: Iterable[Sequence[Sequence[int]]]) -> TokenColumn:
        ids = [np.empty(0, dtype=np.int32)]
        lengths: list[int] = [0]
        for batch in batches:
            ids.append(np.fromiter(chain.from_iterable(batch), dtype=np.int32))
            lengths.extend(len(row) for row in batch)
        return cls(ids=np.concatenate(ids), offsets=np.cumsum(lengths, dtype=np.int64))

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
class TokenTable:
    """N rows: token columns by name, and numbers by name ((N,) int64, such as "label").

    `constants` are arrays that belong to no row (such as the tokenizer's merges), `facts` whatever else JSON can hold.
    """

    columns: Mapping[str, TokenColumn]
    numbers: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        lengths |= {name: len(values) for name, values in self.numbers.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"every column of a token table needs the same number of rows: {lengths}")

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
        tensors: dict[str, NDArray[Any]] = {}
        for name, column in self.columns.items():
            tensors[f"columns.{name}.ids"] = np.ascontiguousarray(column.ids)
            tensors[f"columns.{name}.offsets"] = np.ascontiguousarray(column.offsets)
        for name, values in self.numbers.items():
            tensors[f"numbers.{name}"] = np.ascontiguousarray(values)
        for name, values in self.constants.items():
            tensors[f"constants.{name}"] = np.ascontiguousarray(values)
        metadata = {_FACTS: json.dumps(self.facts, sort_keys=True, ensure_ascii=False, allow_nan=False)}
        write_atomically(path, lambda temporary: safetensors.numpy.save_file(tensors, str(temporary), metadata))

    @classmethod
    def load(cls, path: Path) -> TokenTable:
        """Read what `save` wrote.

        Raises StageError that names the file when it is missing or damaged.
        """
        try:
            tensors = safetensors.numpy.load_file(str(path))
            with safetensors.safe_open(str(path), framework="numpy") as file:
                facts = json.loads(file.metadata()[_FACTS])
            return cls._of_tensors(tensors, facts)
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise StageError(
                f"{path}: not a readable token table ({error})",
                remedy=f"delete {path.parent} and run again: the stage will be rebuilt",
            ) from None

    @classmethod
    def _of_tensors(cls, tensors: Mapping[str, NDArray[Any]], facts: dict[str, Any]) -> TokenTable:
        columns = {}
        numbers = {}
        constants = {}
        for name, tensor in tensors.items():
            if name.startswith("columns.") and name.endswith(".ids"):
                column = name.removeprefix("columns.").removesuffix(".ids")
                columns[column] = TokenColumn(ids=tensor, offsets=tensors[f"columns.{column}.offsets"])
            elif name.startswith("numbers."):
                numbers[name.removeprefix("numbers.")] = tensor
            elif name.startswith("constants."):
                constants[name.removeprefix("constants.")] = tensor
        return cls(columns=columns, numbers=numbers, constants=constants, facts=facts)


def rows_of(corpus_folder: Path, split: str) -> list[dict[str, str]]:
    """All rows of a split (train, validation, test) of a corpus stage folder."""
    return list(read_jsonl(corpus_folder / f"{split}.jsonl"))


def tokens_stage(
    corpus: Stage,
    tokenizer: Stage,
    *,
    tokenize: Callable[[Sequence[Row], TextTokenizer], TokenTable],
    family: str,
    root: Path,
) -> Stage:
    """Tokenize the three splits: train.safetensors, validation.safetensors, test.safetensors.

    `tokenize` sees the rows of all splits at once, so that what it derives from them (the list of labels) is the same
    for each; it must return one table row a corpus row, in order.
    """
    spec = StageSpec(
        name="tokens",
        version=_STAGE_VERSION,
        config={"family": family},
        inputs={"corpus": corpus, "tokenizer": tokenizer},
    )

    def build(folder: Path) -> dict[str, Any]:
        rows = {split: rows_of(corpus.path, split) for split in SPLITS}
        together = [row for split in SPLITS for row in rows[split]]
        table = tokenize(together, TextTokenizer.load(tokenizer.path))
        if len(table) != len(together):
            raise ValueError(f"tokenize of {family} made {len(table)} table rows of {len(together)} corpus rows")
        facts = {}
        start = 0
        for split in SPLITS:
            part = table.slice(start, start + len(rows[split]))
            part.save(folder / f"{split}.safetensors")
            facts[split] = _sizes(part)
            start += len(rows[split])
        return {"splits": facts, "table": table.facts}

    return run_stage(spec, build, root=root)


def _sizes(table: TokenTable) -> dict[str, Any]:
    return {
        "rows": len(table),
        "tokens": {name: int(column.ids.size) for name, column in table.columns.items()},
        "longest": {name: int(column.lengths.max(initial=0)) for name, column in table.columns.items()},
    }
