"""The command `nightshift`: a thin front over flows, registry and servers.

Commands import what they need inside: prefect, mlflow, torch and transformers take seconds each, and `--help` or a
mistyped option must not wait for them. Prefect and MLflow also read the environment when they are imported, so
`environment.prepare()` has to come first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deployments.arguments import FamilyArgument, all_families, known_family, parse_pairs
from deployments.batch_commands import commands as batch_commands
from deployments.registry_commands import commands as registry_commands
from deployments.telling import tell
from llm import __version__
from llm.errors import NightshiftError
from llm.progress import waiting

_FAILED = 2
# 128 and the number of the signal, as shells report it.
_INTERRUPTED = 130
_TERMINATED = 143


class Commands(TyperGroup):
    """All commands, with one way to fail: an error of ours is two lines on stderr, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BaseException as error:
            code = _report(error)
            if code is None:
                raise
            raise typer.Exit(code) from None


app = typer.Typer(
    name="nightshift",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    # A traceback of a bug is for a bug report: plain text, without the values of local variables.
    pretty_exceptions_enable=False,
    help="From your own text to language models that are trained, judged and registered overnight.",
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nightshift {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def run(
    family: Annotated[
        str | None, typer.Argument(metavar="FAMILY", help="generation, translation or classification; default: all")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="quick (minutes), standard (under 45 minutes a family) or smoke")
    ] = "quick",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one option, e.g. training.steps=2000; repeatable."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file with options that override the preset's.", dir_okay=False)
    ] = None,
) -> None:
    """Train, judge and register: one family, or all of them one after another."""
    names = [known_family(family)] if family else all_families()
    overrides = parse_pairs(settings or [], option="--set")
    from deployments import environment

    environment.prepare()
    from deployments.pipeline import run_families

    run_families(names, preset=preset, overrides=overrides, file=config)


@app.command()
def models() -> None:
    """Who is champion, since when, and how it compares with the baselines."""
    from deployments import environment

    environment.prepare()
    with waiting("asking the registry"):
        from deployments.summary import champions_table

        text = champions_table()
    typer.echo(text)


@app.command()
def clean(
    days: Annotated[int, typer.Option(min=7, max=3650, help="Keep what was used within so many days.")] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove stages, downloads and model copies that nothing has used for long, but not what the champions came from.

    Whole nights do so, too.
    """
    from deployments import environment

    environment.prepare()
    with waiting("looking for what is old"):
        from tasks.pruning import clean_up

        text = clean_up(days, dry_run=dry_run)
    typer.echo(text)


@app.command()
def inspect(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A file, a pattern in quotes, or the name of a built-in corpus.")
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one option, e.g. corpus.format=txt; repeatable."),
    ] = None,
    most: Annotated[int, typer.Option(min=0, help="Look at so many records; 0: at all.")] = 50_000,
) -> None:
    """What would be read from a source, and what would be dropped: nothing is written."""
    overrides = parse_pairs(settings or [], option="--set")
    from deployments import environment

    environment.prepare()
    with waiting(f"looking at {source}"):
        from deployments.inspection import inspect_source

        text = inspect_source(source, overrides, most=most)
    typer.echo(text)


@app.command()
def predict(
    family: FamilyArgument,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help="One or more inputs.")],
    params: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="Inference parameter, e.g. temperature=0.7; repeatable."),
    ] = None,
) -> None:
    """What a family's champion answers, one answer a TEXT."""
    name = known_family(family)
    chosen = parse_pairs(params or [], option="--param")
    from deployments import environment

    environment.prepare()
    with waiting(f"loading the champion of {name}"):
        from deployments.champions import load_champion

        predictor = load_champion(name).predictor
    from deployments.summary import answer_line

    for answer in predictor.predict(texts, **chosen):
        typer.echo(answer_line(answer))


@app.command()
def up(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow server.")] = 5000,
    zone: Annotated[
        str, typer.Option(envvar="NIGHTSHIFT_ZONE", help="Time zone of the schedule, e.g. Europe/Berlin.")
    ] = "Etc/UTC",
    catch_up: Annotated[
        bool, typer.Option(help="Run once when nights were missed or one crashed, or leave it to the next night.")
    ] = True,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="This machine's address for others; they must sign in.")
    ] = "127.0.0.1",
    config: Annotated[
        Path | None,
        typer.Option(help="YAML file: the families of every night, with their data and options.", dir_okay=False),
    ] = None,
) -> None:
    """Start the Prefect server, the MLflow server and a worker on this machine, until Ctrl-C."""
    from deployments import environment
    from deployments.chosen_nights import chosen_nights
    from deployments.processes import Terminated
    from deployments.recipes import set_zone
    from deployments.servers import Ports, keep_up

    set_zone(zone)
    environment.prepare(find_servers=False)
    nights = None
    if config is not None:
        with waiting(f"checking {config}"):
            nights = chosen_nights(config)
    try:
        ports = Ports(prefect=prefect_port, mlflow=mlflow_port, host=host)
        keep_up(ports, catch_up=catch_up, nights=nights, say=tell)
    except (KeyboardInterrupt, Terminated):
        # The usual end of this command, and a good one.
        tell("stopped", err=True)


# Without a name of its own, the group's commands stand beside the others.
app.add_typer(registry_commands)
app.add_typer(batch_commands)


def print_error(error: NightshiftError) -> None:
    """The two lines that every error of ours becomes."""
    tell(f"error: {error.problem}", err=True)
    tell(f"remedy: {error.remedy}", err=True)


def _report(error: BaseException) -> int | None:
    """Tell what ended a command; the exit code for it, or None for what is no business of ours."""
    from deployments.processes import Terminated
    from deployments.story import find_error

    if isinstance(error, KeyboardInterrupt | Terminated):
        tell("interrupted; finished stages are kept, and the next run goes on from there", err=True)
        return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else _TERMINATED
    found = find_error(error)
    if found is None:
        return None
    print_error(found)
    return _FAILED


def main() -> None:
    """Entry point of the command `nightshift`."""
    app()


if __name__ == "__main__":
    main()
