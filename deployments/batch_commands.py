"""Commands that put many rows before a registered version: to be answered, or to see how good it is."""

from __future__ import annotations

from typing import Annotated

import typer

from deployments.arguments import FamilyArgument, known_family, parse_pairs
from llm.progress import waiting

commands = typer.Typer()

_FILES = ".jsonl, .csv, .tsv, .parquet"


@commands.command()
def batch_predict(
    family: FamilyArgument,
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help=f"A file ({_FILES}, .txt), an address, or 'sql:SELECT ... ORDER BY ...'."),
    ],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help=f"A file ({_FILES}, .jsonl.gz), or sql:TABLE.")],
    version: Annotated[str, typer.Option(metavar="VERSION", help="A version's number, or an alias.")] = "champion",
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column to predict from; default: source of translations, text.")
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="KEY=VALUE", help="Inference parameter, e.g. num_beams=1; repeatable."),
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Goes before the names of the new columns.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another option, e.g. rows_per_part=200; repeatable."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")] = False,
    start_anew: Annotated[bool, typer.Option("--start-anew", help="Drop what was left unfinished.")] = False,
) -> None:
    """Answer every row of INPUT into OUTPUT; started again after a crash, it goes on where it was."""
    name = known_family(family)
    values = {
        "input": source,
        "output": output,
        "column": column,
        "prefix": prefix,
        "params": parse_pairs(params or [], option="--param"),
        "overwrite": overwrite,
        "start_anew": start_anew,
        **parse_pairs(settings or [], option="--set"),
    }
    from deployments import environment

    environment.prepare()
    with waiting("asking the registry"):
        from deployments.processes import terminable
        from llm.batch_prediction.config import BatchConfig
        from llm.config import parse_config
        from tasks.batch_job import pin, predict_rows
        from tasks.batch_story import text

        config = parse_config(BatchConfig, values, where="batch-predict")
        pinned = pin(name, version, config)
    with terminable():
        report = predict_rows(pinned, version, config)
    typer.echo(text(report))


@commands.command()
def evaluate(
    family: FamilyArgument,
    version: Annotated[str, typer.Option(metavar="VERSION", help="A version's number, or an alias.")] = "champion",
    corpus: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="File or pattern to score it on; default: its own test split."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set one option, e.g. corpus.format=csv; repeatable."),
    ] = None,
) -> None:
    """How good a version is, on a file of yours or on its own test split; kept as an MLflow run."""
    name = known_family(family)
    options = parse_pairs(settings or [], option="--set")
    from deployments import environment

    environment.prepare()
    with waiting(f"scoring {name} {version}"):
        from deployments.evaluation import evaluate_version

        text = evaluate_version(name, version, source=corpus, options=options)
    typer.echo(text)
