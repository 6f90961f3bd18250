"""Prefect tasks that change a champion as a person decided: find the version, test it, move the alias."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from llm.processes import cores
from tasks.load_test import load_test
from tasks.provenance import this_flow_run
from tasks.registry.ledger import Move, What, person
from tasks.registry.moves import Change, carry_out, find_promotion, find_rollback
from tasks.registry.versions import Version
from tasks.reload import FreshProcess


@task(name="find rollback", cache_policy=NO_CACHE, persist_result=False)
def rollback_of(family: str, to: str | None) -> Change:
    """From the champion to the version `to`, or to the one before it."""
    return find_rollback(family, to)


@task(name="find promotion", cache_policy=NO_CACHE, persist_result=False)
def promotion_of(family: str, version: str) -> Change:
    """From the champion to `version`."""
    return find_promotion(family, version)


@task(name="load test", cache_policy=NO_CACHE, persist_result=False)
def try_out(target: Version) -> str:
    """Download, check and load the version in a fresh process; fails when it is not fit to be champion."""
    with FreshProcess(threads=cores()) as process:
        seen = load_test(target, process)
    get_run_logger().info("%s version %d: %s", target.family, target.version, seen)
    return seen


# Not to be repeated by itself: after a lost reply, the ledger would hold the move twice.
@task(name="move champion", cache_policy=NO_CACHE, persist_result=False)
def move(change: Change, *, what: What, why: str) -> Version:
    """Move the alias `champion`, and write down that this flow run did."""
    reasons = (why,) if why else ()
    version = carry_out(change, Move(what, reasons, who=this_flow_run() or person()))
    get_run_logger().info("%s version %d is champion: %s", version.family, version.version, what)
    return version


def told(change: Change, what: What) -> str:
    """`promoted by hand: version 3 is champion, version 2 was`."""
    before = f"version {change.now.version}" if change.now else "nobody"
    return f"{what}: version {change.target.version} is champion, {before} was"
