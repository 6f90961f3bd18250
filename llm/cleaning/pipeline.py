"""From what a source gives to records worth training on: repaired, checked one by one, and accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, compress, groupby, islice

from llm.cleaning.account import Account
from llm.cleaning.checks import Check, active_checks, all_checks
from llm.cleaning.config import CleaningConfig
from llm.cleaning.repairs import Repair, repair_all, repairs
from llm.corpora.base import LABEL, Dropped, Record, Step, Unreadable, short_hash

# Records that go from step to step together: what is done for each of them alone costs more than the work itself.
_BATCH = 1_000


def clean(
    items: Iterable[Record | Unreadable],
    config: CleaningConfig,
    *,
    steps: Mapping[str, Step],
    account: Account,
) -> Iterator[list[Record]]:
    """Repair the texts of every record, then let through what passes the general checks and the source's `steps`.

    Records come out in batches, each with a group; the records that go in may be changed. `account` is filled while the
    result is read, and is complete when that ends.

    Raises CorpusError as soon as most of what is read is bad.
    """
    account.dropped = dict.fromkeys((*all_checks(config), *steps), 0)
    batches = _checked(_repaired(items, config, account), config, account)
    for name, step in steps.items():
        batches = _batches(_stepped(chain.from_iterable(batches), step, name=name, account=account))
    for batch in filter(None, batches):
        account.kept += len(batch)
        yield batch


def _batches(records: Iterator[Record]) -> Iterator[list[Record]]:
    while batch := list(islice(records, _BATCH)):
        yield batch


def _repaired(items: Iterable[Record | Unreadable], config: CleaningConfig, account: Account) -> Iterator[list[Record]]:
    chosen = repairs(config)
    account.repaired = dict.fromkeys(chosen, 0)
    waiting = iter(items)
    while batch := list(islice(waiting, _BATCH)):
        records = []
        for item in batch:
            if isinstance(item, Unreadable):
                account.unreadable(item)
            else:
                records.append(item)
        _repair(records, chosen, account)
        account.read += len(batch)
        yield records
        # The checks have seen them by now.
        account.check_early(most=config.maximum_bad_share)


def _repair(records: list[Record], chosen: Mapping[str, Repair], account: Account) -> None:
    """Repair the fields of records, and group by its text each that has no group."""
    changed: dict[str, set[int]] = {name: set() for name in chosen}
    for name in dict.fromkeys(chain.from_iterable(record.fields for record in records)):
        values = [record.fields.get(name, "") for record in records]
        for number, value in repair_all(values, chosen, changed=changed):
            # A copy: the source may keep its own.
            records[number].fields = {**records[number].fields, name: value}
    for name, numbers in changed.items():
        account.repaired[name] += len(numbers)
    for record in records:
        if record.group is None:
            # Of the repaired text: two ways to write the same letters are the same text.
            fields = record.fields
            record.group = short_hash(fields["text"] if "text" in fields else fields["source"])


def _checked(batches: Iterable[list[Record]], config: CleaningConfig, account: Account) -> Iterator[list[Record]]:
    for batch in batches:
        kept: list[Record] = []
        for names, records in groupby(batch, key=_names):
            kept += _passing(list(records), config, account, checks=active_checks(config, names))
        yield kept


def _names(record: Record) -> tuple[str, ...]:
    return tuple(record.fields)


def _passing(
    records: list[Record], config: CleaningConfig, account: Account, *, checks: Mapping[str, Check]
) -> list[Record]:
    columns = [[record.fields[name] for record in records] for name in records[0].fields if name != LABEL]
    texts = list(zip(*columns, strict=True))
    for name, check in checks.items():
        reasons = dict(check(records, texts, config))
        if reasons:
            for number, reason in reasons.items():
                account.drop(name, Dropped(records[number], reason))
            stays = [number not in reasons for number in range(len(records))]
            records, texts = list(compress(records, stays)), list(compress(texts, stays))
    return records


def _stepped(records: Iterable[Record], step: Step, *, name: str, account: Account) -> Iterator[Record]:
    taken = given = 0

    def taking() -> Iterator[Record]:
        nonlocal taken
        for record in records:
            taken += 1
            yield record

    for item in step(taking()):
        given += 1
        if isinstance(item, Dropped):
            account.drop(name, item)
        else:
            yield item
    if taken != given:
        raise AssertionError(f"the step {name} took {taken} records and gave back {given}: a step must lose none")
