"""Keeping texts that measure models out of corpora: what shares thirteen words in a row with one, or equals one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from llm.corpora.base import LABEL, Dropped, Record, Unreadable
from llm.corpora.local_files import LocalFiles, LocalFilesConfig
from llm.ingest.word_runs import quoted_run, runs
from llm.shingles import Hashes

_BATCH = 500


class KeptOut:
    """The hashes of all runs of thirteen words of some texts, and of those texts that are shorter."""

    def __init__(self, texts: Iterable[str]) -> None:
        found = [np.empty(0, np.uint64)]
        waiting = iter(texts)
        while batch := list(islice(waiting, _BATCH)):
            found.append(np.unique(runs(batch)[0]))
        self._hashes = np.unique(np.concatenate(found))

    def step(self, records: Iterable[Record]) -> Iterator[Record | Dropped]:
        """The records as they come, dropped where a text shares a run with one that is to be kept out."""
        waiting = iter(records)
        while batch := list(islice(waiting, _BATCH)):
            reasons: dict[int, str] = {}
            for name in dict.fromkeys(name for record in batch for name in record.fields if name != LABEL):
                texts = [record.fields.get(name, "") for record in batch]
                for number, run in self._first_shared(texts):
                    reasons.setdefault(number, f"{name} shares {run!r} with a text that is to be kept out")
            for number, record in enumerate(batch):
                yield Dropped(record, reasons[number]) if number in reasons else record

    def _first_shared(self, texts: Sequence[str]) -> Iterator[tuple[int, str]]:
        """The numbers of the texts that share a run, with the first that each shares."""
        hashes, starts = runs(texts)
        places = np.flatnonzero(is_among(hashes, self._hashes))
        owners, first = np.unique(np.searchsorted(starts, places, side="right") - 1, return_index=True)
        for owner, place in zip(owners.tolist(), places[first].tolist(), strict=True):
            yield owner, quoted_run(texts[owner], place - int(starts[owner]))


def is_among(values: Hashes, ordered: Hashes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(n,) whether each of the values is one of the `ordered` ones."""
    places = np.searchsorted(ordered, values)
    found = places < len(ordered)
    found[found] = ordered[places[found]] == values[found]
    return found


def kept_out_texts(files: Sequence[LocalFilesConfig], *, downloads: Path) -> Iterator[str]:
    """Every text of every record of `files`, labels left out.

    Raises CorpusError and DownloadError as reading a corpus does; what cannot be read is passed over.
    """
    corpus = LocalFiles()
    for config in files:
        for item in corpus.records(config, downloads=downloads):
            if not isinstance(item, Unreadable):
                yield from item.texts
