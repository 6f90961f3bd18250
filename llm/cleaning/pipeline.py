"""From what a source gives to records worth training on: repaired, checked one by one, and accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from llm.cleaning.account import Account
from llm.cleaning.checks import CHECKS, active_checks
from llm.cleaning.config import CleaningConfig
from llm.cleaning.repairs import needs_none, repairs
from llm.corpora.base import Dropped, Record, Step, Unreadable, short_hash


def clean(
    items: Iterable[Record | Unreadable],
    config: CleaningConfig,
    *,
    steps: Mapping[str, Step],
    account: Account,
) -> Iterator[Record]:
    """Repair the texts of every record, then let through what passes the general checks and the source's `steps`.

    Records come out with a group. `account` is filled while the result is read, and is complete when that ends.

    Raises CorpusError as soon as most of what is read is bad.
    """
    account.dropped = dict.fromkeys((*CHECKS, *active_checks(config), *steps), 0)
    stream = _checked(_repaired(items, config, account), config, account)
    for name, step in steps.items():
        stream = _stepped(stream, step, name=name, account=account)
    for record in stream:
        account.kept += 1
        yield record


def _repaired(items: Iterable[Record | Unreadable], config: CleaningConfig, account: Account) -> Iterator[Record]:
    chosen = repairs(config)
    counts = account.repaired = dict.fromkeys(chosen, 0)
    for item in items:
        account.read += 1
        if isinstance(item, Unreadable):
            account.unreadable(item)
        else:
            fields = dict(item.fields)
            changed = set()
            for field, value in fields.items():
                if not config.redact and needs_none(value):
                    continue
                for name, repair in chosen.items():
                    after = repair(value)
                    if after is not value and after != value:
                        changed.add(name)
                        fields[field] = value = after
            for name in changed:
                counts[name] += 1
            yield Record(_group(item, fields), fields, item.origin, item.position)
        account.check_early(most=config.maximum_bad_share)


def _group(record: Record, fields: Mapping[str, str]) -> str:
    if record.group is not None:
        return record.group
    # Of the repaired text: two ways to write the same letters are the same text.
    return short_hash(fields["text"] if "text" in fields else fields["source"])


def _checked(records: Iterable[Record], config: CleaningConfig, account: Account) -> Iterator[Record]:
    checks = list(active_checks(config).items())
    for record in records:
        texts = record.texts
        for name, check in checks:
            reason = check(record, texts, config)
            if reason is not None:
                account.drop(name, Dropped(record, reason))
                break
        else:
            yield record


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
