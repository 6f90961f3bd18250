"""A batch prediction from beginning to end: looked at before any work, predicted part by part, joined, renamed."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from llm.batch_prediction.answering import ERROR_COLUMN, outcomes
from llm.batch_prediction.config import SQL, BatchConfig
from llm.batch_prediction.sources import Row, find_source
from llm.batch_prediction.sql_table import SqlTable
from llm.batch_prediction.targets import Layout, format_for
from llm.batch_prediction.values import Kind, kinds_of
from llm.batch_prediction.work import ModelName, Work, work_folder
from llm.config import Config, parse_config
from llm.corpora.base import Unreadable
from llm.errors import ConfigError, CorpusError
from llm.families import load_family
from llm.files import fsync_folder, sha256_of, write_atomically
from llm.predictor import Predictor
from llm.progress import track

# Raise it whenever the same rows, parameters and model give other answers or another output.
_VERSION = 1
_EXAMPLES = 10
_PROBE = "Good evening."


@dataclass
class Report:
    """What a job did. `reused`: rows that an earlier run, which was cut off, had answered; `seconds`: of this run."""

    model: ModelName
    input: str
    output: str
    rows: int = 0
    reused: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    examples: list[dict[str, Any]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Rows that have an answer."""
        return self.rows - self.refused.total()

    @property
    def rows_per_second(self) -> float:
        """Of this run, joining included."""
        return (self.rows - self.reused) / self.seconds if self.seconds else 0.0


class BatchJob:
    """One job, checked: its input has the column, its output may be written; for a `with` block.

    Raises ConfigError, CorpusError, DownloadError or StageError that names what is wrong, with nothing left behind.
    """

    def __init__(self, config: BatchConfig, model: ModelName, *, downloads: Path) -> None:
        self._config = config
        family = load_family(model.family)
        self._params: Config = parse_config(family.params, config.params, where=f"parameters of {family.name}")
        self._names = family.answer_columns(self._params)
        self._column = config.column or family.input_field
        self._target = _target(config)
        self._source = find_source(config, downloads=downloads)
        self._content = self._source.fingerprint()
        self._report = Report(model=model, input=self._source.name, output=config.output)
        is_new = not work_folder(config.output).exists()
        self._work = Work(config.output, self._identity(), start_anew=config.start_anew)
        try:
            self._check_output()
            self._table = self._source.table(self._work.folder)
            self._check_columns()
        except BaseException:
            if is_new:
                self._work.remove()
            self._work.__exit__()
            raise

    def __enter__(self) -> BatchJob:
        return self

    def __exit__(self, *error: object) -> None:
        if self._work.folder.exists() and self._work.is_empty():
            self._work.remove()
        self._work.__exit__()

    def run(self, predictor: Predictor) -> Report:
        """Predict what is not predicted yet, write the output, and tell.

        Killed at any moment, and run again with the same config and model, it goes on; the output is the same bytes.

        Raises InputError when the parameters leave the model no room, CorpusError when the input changes meanwhile.
        """
        started = time.monotonic()
        if self._is_written():
            self._count()
            self._report.reused = self._report.rows
        else:
            self._predict(predictor)
            self._count()
            self._write(self._layout())
        self._work.remove()
        self._report.seconds = time.monotonic() - started
        return self._report

    def _check_output(self) -> None:
        if isinstance(self._target, SqlTable):
            self._target.check()
            there = self._target.count() is not None
        else:
            there = self._target.exists()
        if there and not self._config.overwrite and not self._is_written():
            raise ConfigError(
                f"{self._config.output}: is there already", remedy="name another output, or say --overwrite"
            )

    def _is_written(self) -> bool:
        """Whether a run before this one was killed behind its very last step."""
        promised = self._work.promised()
        if promised is None:
            return False
        if isinstance(self._target, SqlTable):
            # One that may have been there before says nothing; to write it again makes it no other.
            return not self._config.overwrite and self._target.count() == int(promised["rows"])
        return self._target.exists() and sha256_of(self._target) == str(promised["sha256"])

    def _check_columns(self) -> None:
        columns = self._table.columns
        if columns is None:
            first = next((row for row in self._table.rows() if not isinstance(row, Unreadable)), None)
            columns = None if first is None else tuple(first)
        if columns is not None:
            if self._column not in columns:
                raise CorpusError(
                    f"{self._source.name}: there is no column {self._column!r}",
                    remedy=f"choose from {', '.join(map(repr, columns))}",
                )
            self._refuse_clash(columns)

    def _refuse_clash(self, columns: Iterable[str]) -> None:
        taken = sorted({*self._new_columns} & {*columns})
        if taken:
            raise ConfigError(
                f"{self._source.name}: has a column {', '.join(map(repr, taken))} already, as the answers would",
                remedy="give the new columns another beginning, such as --prefix predicted_",
            )

    def _predict(self, predictor: Predictor) -> None:
        # What no text could be answered with is an error of the job, and not of each row.
        predictor.family.answer(predictor, [_PROBE], self._params)
        size = self._config.rows_per_part
        done = self._work.parts()
        rows = self._table.rows()
        # What is answered already is passed over in the input, and never held.
        self._report.reused = sum(1 for _ in islice(rows, done * size))
        for number, part in enumerate(track(_parts(rows, size), label=f"predicting, {size:,} rows a part"), start=done):
            self._refuse_clash(name for row in part if not isinstance(row, Unreadable) for name in row)
            self._work.write_part(number, outcomes(predictor, part, column=self._column, params=self._params))

    def _count(self) -> None:
        for outcome in self._work.outcomes():
            self._report.rows += 1
            if outcome.reason is not None:
                self._report.refused[outcome.reason] += 1

    def _write(self, layout: Layout) -> None:
        if isinstance(self._target, SqlTable):
            self._work.promise({"rows": self._report.rows})
            self._target.write(self._told(), layout)
            return
        form, zipped = format_for(self._config.output)
        joined = self._work.folder / "joined"
        write_atomically(joined, lambda path: form.write(path, self._told(), layout, zipped))
        if self._source.fingerprint() != self._content:
            raise CorpusError(
                f"{self._source.name}: was changed while it was read",
                remedy="start anew (--start-anew), with an input that stays as it is",
            )
        self._work.promise({"sha256": sha256_of(joined)})
        os.replace(joined, self._target)
        fsync_folder(self._target.parent)

    def _told(self) -> Iterator[Row]:
        """The rows of the output, some of them taken for examples on the way: from all over it."""
        every = max(1, self._report.rows // _EXAMPLES)
        for number, row in enumerate(self._rows()):
            if number % every == 0 and len(self._report.examples) < _EXAMPLES:
                self._report.examples.append({name: row.get(name) for name in (self._column, *self._new_columns)})
            yield row

    def _rows(self) -> Iterator[Row]:
        empty = dict.fromkeys(self._table.columns or ())
        for row, outcome in zip(self._table.rows(), self._work.outcomes(), strict=True):
            carried = empty if isinstance(row, Unreadable) else row
            yield {**carried, **outcome.cells(self._names, prefix=self._config.prefix)}

    def _layout(self) -> Layout:
        """What the output's format asks for; where the input does not say it, all rows are read for it."""
        new = self._new_columns
        named, typed = _needs(self._target)
        known = self._table.columns
        kinds: Mapping[str, Kind] = kinds_of(self._rows()) if typed or (named and known is None) else {}
        carried = [name for name in (kinds if known is None else known) if name not in new]
        # Of a column that has no value in any row, or of no rows at all, nothing is known.
        unknown: dict[str, Kind] = dict.fromkeys((*carried, *new), "text")
        return Layout([*carried, *new], {**unknown, **kinds}, self._table.schema)

    @property
    def _new_columns(self) -> tuple[str, ...]:
        return tuple(self._config.prefix + name for name in (*self._names, ERROR_COLUMN))

    def _identity(self) -> dict[str, Any]:
        """What a job must have in common with one that it goes on with."""
        return {
            "batch_version": _VERSION,
            "model": asdict(self._report.model),
            "input": self._source.name,
            "content of the input": self._content,
            "column": self._column,
            "prefix": self._config.prefix,
            "params": self._params.model_dump(mode="json"),
            "rows_per_part": self._config.rows_per_part,
        }


def _target(config: BatchConfig) -> Path | SqlTable:
    """Raises ConfigError when an output cannot be one, whatever is in it."""
    if config.output.startswith(SQL):
        return SqlTable(config.output.removeprefix(SQL), config.output_url_variable)
    path = Path(config.output).expanduser()
    if "://" in config.output or path.is_dir():
        what = "a folder" if path.is_dir() else "an address"
        raise ConfigError(f"output {config.output!r}: is {what}", remedy="name a file on this machine, or sql:TABLE")
    format_for(config.output)
    given = Path(config.input).expanduser()
    if path.exists() and given.exists() and path.samefile(given):
        raise ConfigError(f"output {config.output!r}: is the input", remedy="name another file")
    return path


def _needs(target: Path | SqlTable) -> tuple[bool, bool]:
    if isinstance(target, SqlTable):
        return True, True
    form, _ = format_for(target.name)
    return form.named, form.typed


def _parts(rows: Iterator[Row | Unreadable], size: int) -> Iterator[list[Row | Unreadable]]:
    while part := list(islice(rows, size)):
        yield part
