"""Shards become a corpus: what is wrong only among others is dropped, the rest is written by split, and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from llm.cleaning.account import quarantine_file, too_much_bad
from llm.cleaning.config import CleaningConfig
from llm.corpora.base import LABEL
from llm.errors import CorpusError
from llm.files import HashedFile
from llm.ingest.drawn import drawn_languages
from llm.ingest.index import Index
from llm.ingest.selection import REASONS, STEPS, Selection, runs_of_equals, select
from llm.ingest.shards import QUARANTINE, joined_signatures
from llm.splits import SPLITS, SplitConfig
from llm.stages import Built, Stage

# Files or labels that an error lists by name.
_NAMED = 3
_NAMES = list(STEPS)


def join_shards(
    shards: Sequence[Stage],
    folder: Path,
    *,
    source: str,
    fields: Sequence[str],
    files: Sequence[str],
    cleaning: CleaningConfig,
    splits: SplitConfig,
) -> Built:
    """Choose among the records of all shards, write the splits and the quarantine; returns the facts.

    Raises CorpusError when too much is bad, or when the corpus, a split or a class is empty; `files` are named in it.
    """
    account = _total([shard.facts for shard in shards])
    _check_account(account, shards, cleaning, source=source, files=files)
    with joined_signatures(shards, folder) as signatures:
        index = Index(shards)
        selection = select(index, cleaning, splits, signatures=signatures)
    sums = _write(shards, index, selection, folder)
    account["kept"] = int(selection.kept.sum())
    account["dropped"] |= {name: int((selection.step == number).sum()) for number, name in enumerate(STEPS)}
    sizes = _sizes(index, selection)
    _check_splits(account, sizes, source=source)
    _check_classes(sizes, index.labels, cleaning, source=source)
    texts = [name for name in fields if name != LABEL]
    languages = drawn_languages(index, selection.kept, texts)
    return Built({**account, "splits": sizes, "languages": languages}, sums)


def _total(accounts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The accounts of all shards, added up; of examples, the first."""
    total: dict[str, Any] = {name: sum(account[name] for account in accounts) for name in ("read", "kept", "bad")}
    for name in ("repaired", "dropped"):
        counts: Counter[str] = Counter()
        for account in accounts:
            counts.update(account[name])
        total[name] = dict(counts)
    total["examples"] = {
        step: example for account in reversed(accounts) for step, example in account["examples"].items()
    }
    return total


def _write(shards: Sequence[Stage], index: Index, selection: Selection, folder: Path) -> dict[str, str]:
    """Write the splits and the quarantine; returns the SHA-256 of the splits by name of their file."""
    with ExitStack() as stack:
        files = [stack.enter_context(HashedFile(folder / f"{split}.jsonl")) for split in SPLITS]
        earlier = [shard.path / QUARANTINE for shard in shards]
        quarantine = stack.enter_context(quarantine_file(folder / QUARANTINE, after=earlier))
        for rows, data, bounds in index.rows():
            split = np.where(selection.step[rows] < 0, selection.split[rows], -1)
            view = memoryview(data)
            pieces: list[list[memoryview]] = [[] for _ in SPLITS]
            # Rows of the same split that follow each other are copied together.
            begins = np.flatnonzero(np.append(True, split[1:] != split[:-1])).tolist()
            for begin, end in pairwise([*begins, len(split)]):
                number = int(split[begin])
                if number >= 0:
                    pieces[number].append(view[bounds[begin] : bounds[end]])
                    continue
                for row in range(begin, end):
                    line = data[bounds[row] : bounds[row + 1]]
                    quarantine(_dropped(line, rows.start + row, index, selection))
            for file, parts in zip(files, pieces, strict=True):
                file.write(b"".join(parts))
        return {f"{split}.jsonl": file.sha256() for split, file in zip(SPLITS, files, strict=True)}


def _dropped(line: bytes, row: int, index: Index, selection: Selection) -> dict[str, Any]:
    """What the quarantine says of a record that is only wrong among others."""
    name, other = _NAMES[selection.step[row]], int(selection.other[row])
    origin, position = index.place_of(row)
    fields = orjson.loads(line)
    del fields["group"]
    return {
        "source": origin,
        "position": position,
        "offset": None,
        "step": name,
        "reason": REASONS[name].format(other=index.where(other) if other >= 0 else ""),
        "record": fields,
    }


def _sizes(index: Index, selection: Selection) -> dict[str, dict[str, Any]]:
    """Rows, bytes, groups, lengths and labels of each split."""
    split = np.where(selection.kept, selection.split, np.int8(-1))
    labels = index.label_numbers() if index.labels else None
    found: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(SPLITS):
        chosen = split == number
        total, lengths = _lengths(index, chosen)
        runs = runs_of_equals(index.column("group"), of=chosen)
        found[name] = {
            "rows": int(chosen.sum()),
            "bytes": total,
            "groups": sum(int(first.sum()) for _, first in runs),
            "lengths": lengths,
        }
        if labels is not None:
            counts = dict(zip(index.labels, np.bincount(labels[chosen] + 1).tolist()[1:], strict=False))
            found[name] |= {"labels": {label: counts[label] for label in sorted(counts) if counts[label]}}
    return found


def _lengths(index: Index, chosen: NDArray[np.bool_]) -> tuple[int, list[int]]:
    """Bytes of the (N,) chosen records, and how many have 1, 2 to 3, 4 to 7, ... bytes, up to the last that has any."""
    total, counts = 0, np.zeros(64, dtype=np.int64)
    for rows, sizes in index.parts("bytes"):
        mine = sizes[chosen[rows]]
        total += int(mine.sum())
        counts += np.bincount(np.frexp(mine.astype(np.float64))[1], minlength=64)
    return total, np.trim_zeros(counts[1:], "b").tolist()


def _check_account(
    account: Mapping[str, Any], shards: Sequence[Stage], cleaning: CleaningConfig, *, source: str, files: Sequence[str]
) -> None:
    if account["read"] == account["dropped"].get("empty_file", 0):
        raise CorpusError(
            f"the corpus {source!r} is empty: no record in {_named(files)}", remedy="give it files that hold text"
        )
    if account["bad"] > cleaning.maximum_bad_share * account["read"]:
        worst = max(shards, key=lambda shard: int(shard.facts["bad"]))
        raise too_much_bad(account, most=cleaning.maximum_bad_share, quarantine=worst.path / QUARANTINE)


def _check_splits(account: Mapping[str, Any], sizes: Mapping[str, Mapping[str, Any]], *, source: str) -> None:
    if account["kept"] == 0:
        dropped = ", ".join(f"{name} {count}" for name, count in account["dropped"].items() if count)
        raise CorpusError(
            f"the corpus {source!r} is empty after cleaning: all {account['read']} records were dropped ({dropped})",
            remedy="loosen the bounds in cleaning, or check that corpus.columns names the right columns",
        )
    for split, size in sizes.items():
        if size["rows"] == 0:
            groups = sum(size["groups"] for size in sizes.values())
            raise CorpusError(
                f"the {split} split of the corpus {source!r} is empty: "
                f"{account['kept']} records in {groups} groups were kept, and groups are not divided",
                remedy="add data, choose a group column with more values, or change the shares or the salt in splits",
            )


def _check_classes(
    sizes: Mapping[str, Mapping[str, Any]], labels: Sequence[str], cleaning: CleaningConfig, *, source: str
) -> None:
    if not labels:
        return
    wanted = dict.fromkeys((*cleaning.labels, *sorted(labels)))
    if len(wanted) == 1:
        raise CorpusError(
            f"one class: every record of the corpus {source!r} has the label {next(iter(wanted))!r}",
            remedy="add records of other classes, or check that corpus.columns names the right column",
        )
    empty = [repr(label) for label in wanted if label not in sizes["train"].get("labels", {})]
    if empty:
        raise CorpusError(
            f"empty class: the train split of the corpus {source!r} holds no record with the label {_named(empty)}",
            remedy="add records, leave the class out, or change the salt in splits",
        )


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
