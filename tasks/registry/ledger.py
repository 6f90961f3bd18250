"""The append-only ledger of a family: every move of the alias `champion`, kept where the registry is.

Each entry is a tag of the registered model: its name holds the number, its value JSON. So whoever sees the registry
sees the ledger, a request that MLflow repeats after a lost reply writes the same entry again, and nothing has to be
set up. An entry is never changed; what it got wrong is said by a later one.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal, get_args

from mlflow import MlflowClient

from tasks.registry.connection import TAG_PREFIX

What = Literal["promoted", "rolled back", "promoted by hand", "found"]

_TAG = f"{TAG_PREFIX}ledger."
_NAME = re.compile(re.escape(_TAG) + r"([0-9]{6,})")
# The column in MLflow's database takes 5,000 characters, though MLflow itself would let 100,000 pass.
_LONGEST = 4_800
_CUT = "…"
_SHORTEST = 3


@dataclass(frozen=True)
class Move:
    """Why the champion changes, and who says so; `p_value` and `level` are the gate's, where there was a comparison."""

    what: What
    why: tuple[str, ...]
    who: str
    p_value: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class Entry:
    """One move: version `before` was champion, `after` is (None: nobody). `found`: it was not Nightshift that moved."""

    number: int
    when: datetime
    who: str
    what: What
    before: int | None
    after: int | None
    why: tuple[str, ...]
    p_value: float | None
    level: float | None


@dataclass(frozen=True)
class Ledger:
    """A family's entries, oldest first; `missing` are numbers whose tag somebody deleted or damaged."""

    entries: tuple[Entry, ...]
    missing: tuple[int, ...]

    @property
    def champion(self) -> int | None:
        """The version that the ledger holds for champion."""
        return self.entries[-1].after if self.entries else None

    @property
    def next_number(self) -> int:
        """Of the entry to come; that of a damaged entry is not given out again."""
        return max([0, *self.missing, *(entry.number for entry in self.entries)]) + 1


def person() -> str:
    """Who is at work where no flow run is: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a number that has no name.
        user = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


def read_ledger(tags: Mapping[str, str]) -> Ledger:
    """The ledger in a registered model's tags."""
    found = {int(name[1]): tags[name[0]] for tag in tags if (name := _NAME.fullmatch(tag))}
    read = {number: _decode(number, text) for number, text in found.items()}
    entries = tuple(entry for _, entry in sorted(read.items()) if entry is not None)
    known = {entry.number for entry in entries}
    return Ledger(entries, tuple(number for number in range(1, max(read, default=0) + 1) if number not in known))


def append(mlflow_client: MlflowClient, family: str, ledger: Ledger, move: Move, *, after: int | None) -> Ledger:
    """Write the next entry, a move from the ledger's champion to `after`; returns the ledger with it.

    The family's lock must be held: two writers would give out the same number.
    """
    entry = Entry(
        number=ledger.next_number,
        when=datetime.now(UTC).replace(microsecond=0),
        before=ledger.champion,
        after=after,
        **asdict(move),
    )
    mlflow_client.set_registered_model_tag(family, f"{_TAG}{entry.number:06d}", encode(entry))
    return replace(ledger, entries=(*ledger.entries, entry))


def encode(entry: Entry) -> str:
    """JSON that MLflow takes: reasons are shortened, the longest first, until it fits."""
    why = list(entry.why)
    while len(text := _json(replace(entry, why=tuple(why)))) > _LONGEST:
        longest = max(range(len(why)), key=lambda index: len(why[index]), default=None)
        if longest is None or len(why[longest]) <= _SHORTEST:
            # Thousands of them, or a user name of thousands of characters: that it moved is what counts.
            return _json(replace(entry, why=(_CUT,), who=entry.who[:100]))
        why[longest] = why[longest][: len(why[longest]) // 2] + _CUT
    return text


def _json(entry: Entry) -> str:
    values = asdict(entry) | {"when": entry.when.isoformat(), "from": entry.before, "to": entry.after}
    del values["number"], values["before"], values["after"]
    return json.dumps(values, ensure_ascii=False)


def _decode(number: int, text: str) -> Entry | None:
    try:
        values = json.loads(text)
        if values["what"] not in get_args(What):
            return None
        return Entry(
            number=number,
            when=datetime.fromisoformat(values["when"]),
            who=str(values["who"]),
            what=values["what"],
            before=_optional_int(values["from"]),
            after=_optional_int(values["to"]),
            why=tuple(str(reason) for reason in values["why"]),
            p_value=_optional_float(values["p_value"]),
            level=_optional_float(values["level"]),
        )
    except (ValueError, TypeError, KeyError):
        return None


def _optional_int(value: object) -> int | None:
    return None if value is None else int(str(value))


def _optional_float(value: object) -> float | None:
    return None if value is None else float(str(value))
