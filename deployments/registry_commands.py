"""Commands on registered versions: who was champion and why, where from, what differs, back, on, pulled, or served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from deployments.arguments import FamilyArgument, ReferenceArgument, all_families, known_family, known_reference
from deployments.telling import tell
from llm.errors import ConfigError
from llm.progress import waiting

commands = typer.Typer()

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A version's number, or an alias.")]


@commands.command()
def history(family: FamilyArgument) -> None:
    """Every move of a family's champion: when, who and why; the newest is last."""
    name = known_family(family)
    _prepare()
    with waiting("asking the registry"):
        from deployments.history import show_history

        text = show_history(name)
    typer.echo(text)


@commands.command()
def rollback(
    family: FamilyArgument,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="A version's number, or an alias; default: previous")
    ] = None,
    why: Annotated[str, typer.Option(metavar="TEXT", help="Goes into the history.")] = "",
) -> None:
    """Make the version before this one champion again, after testing it; once more undoes it."""
    name = known_family(family)
    _prepare()
    from deployments.moves import roll_back

    typer.echo(roll_back(name, to=to, why=why))


@commands.command()
def promote(
    family: FamilyArgument,
    version: VersionArgument,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason; it goes into the history.")],
) -> None:
    """Make a version champion by your own decision, after testing it."""
    name = known_family(family)
    if not why.strip():
        raise ConfigError(f"--why {why!r} gives no reason", remedy="say in a sentence why this version is the one")
    _prepare()
    from deployments.moves import promote_by_hand

    typer.echo(promote_by_hand(name, version, why=why))


@commands.command()
def diff(
    family: FamilyArgument,
    a: Annotated[str, typer.Argument(metavar="A", help="A version's number, or an alias.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
) -> None:
    """What differs between two versions: options, data, figures, code, decision and size."""
    name = known_family(family)
    _prepare()
    with waiting("asking the registry"):
        from deployments.differences import show_differences

        text = show_differences(name, a, b)
    typer.echo(text)


@commands.command()
def lineage(
    family: FamilyArgument,
    version: Annotated[str, typer.Option(metavar="VERSION", help="A version's number, or an alias.")] = "champion",
    as_json: Annotated[bool, typer.Option("--json", help="Everything that was recorded, as JSON.")] = False,
) -> None:
    """Where a version came from: data, tokenizer, options, code, environment and runs, each with its hash."""
    name = known_family(family)
    _prepare()
    with waiting("asking the registry"):
        from deployments.lineage import show_lineage

        text = show_lineage(name, version, as_json=as_json)
    typer.echo(text)


@commands.command()
def reproduce(
    model: ReferenceArgument,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder in which it is built again.")] = False,
) -> None:
    """Build a version again on this CPU from what was recorded, and compare: data, tokenizer, weights, figures.

    Exit code 0: all is identical; 1: something is not, and what is told; 2: it could not be tried.
    """
    family, version = known_reference(model)
    _prepare()
    # Read when torch is imported. An accelerator sums in an order of its own.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    from deployments.reproduce import reproduce as build_again

    if not build_again(family, version, keep=keep, say=typer.echo):
        raise typer.Exit(1)


@commands.command()
def pull(
    family: FamilyArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where it goes: a new or an empty folder.")],
    version: Annotated[str, typer.Option(metavar="VERSION", help="A version's number, or an alias.")] = "champion",
) -> None:
    """Write a version's Hugging Face folder to DIR, checked, with its SHA256SUMS."""
    name = known_family(family)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already, and not an empty folder", remedy="name a new folder")
    _prepare()
    with waiting(f"pulling {name} {version}"):
        from deployments.pull import pull_version

        text = pull_version(name, version, folder)
    typer.echo(text)


@commands.command()
def serve(
    model: Annotated[str, typer.Argument(metavar="FAMILY|DIR", help="A family, or the folder of a model.")],
    version: Annotated[str, typer.Option(metavar="VERSION", help="A version's number, or an alias.")] = "champion",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 5001,
) -> None:
    """Answer over HTTP on this machine, as MLflow's scoring server does, until Ctrl-C."""
    folder = Path(model)
    if "/" in model and not folder.is_dir():
        raise ConfigError(f"{model}: there is no such folder", remedy="name a family, or a model's folder")
    # A family comes before a folder of its name, which is ./NAME.
    name = None if "/" in model or (folder.is_dir() and model not in all_families()) else known_family(model)
    _prepare()
    with waiting("importing torch and the registry"):
        from deployments.processes import Terminated
        from deployments.serving import Served, keep_serving, registered_model
    try:
        keep_serving(lambda: registered_model(name, version) if name else Served(model, folder), port=port, say=tell)
    except (KeyboardInterrupt, Terminated):
        # The usual end of this command, and a good one.
        tell("stopped", err=True)


def _prepare() -> None:
    from deployments import environment

    environment.prepare()
