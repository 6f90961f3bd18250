"""What `nightshift reproduce` does: build a registered version again from what MLflow recorded, and compare.

No Prefect here: the stages are called one after another, in a folder of their own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deployments.processes import terminable
from deployments.tables import table
from llm.chain import corpus_plan_of
from llm.config import parse_config
from llm.environment import Difference, differences
from llm.errors import ConfigError
from llm.home import downloads_folder
from llm.progress import waiting
from llm.recipe import Recipe
from llm.reproduction import Line, Recorded, changed_sources, rebuild
from llm.training.stage import training_environment
from tasks.registry.folders import download_as_it_is, download_model_folder
from tasks.registry.moves import find_reference
from tasks.registry.origins import Origin, origin_of, version_of_start

Say = Callable[[str], None]
_NAME, _KEY = 18, 18


def reproduce(family: str, reference: str, *, keep: bool, say: Say) -> bool:
    """Build a version (named by its number or an alias) again and tell how it went; True when all is identical.

    Raises ConfigError when it cannot be built on a CPU; RegistryError when the version, its origin or the weights that
    it went on from are not there; and what the stages raise: CorpusError when a source is gone.
    """
    with terminable(), _folder(keep, say) as folder:
        with waiting("asking the registry"):
            origin = origin_of(find_reference(family, reference))
            recipe = parse_config(Recipe, origin.recipe, where=f"the recipe of {origin.version.uri}")
            if recipe.training.device == "cuda":
                raise ConfigError(
                    f"{origin.version.uri}: training.device is cuda, and a CPU does not come to the same bits",
                    remedy="name a version that was trained on a CPU",
                )
            found = differences(origin.environment, training_environment(recipe)) if origin.environment else []
        say(f"{origin.version.uri}, training {origin.version.training_key}")
        _warn(origin, recipe, found, say)
        with waiting("looking at the sources"):
            changed = changed_sources(origin.sources, corpus_plan_of(recipe, root=folder / "stages"))
        if changed:
            _tell_changed(origin, changed, say)
            return False
        lines = _compare(origin, recipe, folder, say)
    return _conclude(origin, recipe, lines, found, say)


@contextmanager
def _folder(keep: bool, say: Say) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nightshift-reproduce-"))
    try:
        yield folder
    finally:
        if keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder)


def _warn(origin: Origin, recipe: Recipe, found: Sequence[Difference], say: Say) -> None:
    """What may keep the result from being the same, before any work is done."""
    if not origin.environment:
        say("- its environment was not recorded: it may have been trained on another machine or by other packages")
    if found:
        rows = [[one.name, one.then, one.now] for one in found]
        say(table(["not as it was", "then", "now"], rows, indent=""))
    if recipe.training.minutes:
        say(f"- training.minutes is {recipe.training.minutes}: how far a machine comes in a time does not repeat")
    if _clocked(origin):
        steps = origin.training["facts"]["steps"]
        say(f"- finish_by ended its training at step {steps} of {recipe.training.steps}: that does not repeat")


def _tell_changed(origin: Origin, changed: Sequence[str], say: Say) -> None:
    say("the corpus cannot be the same: what it was read from has changed")
    for sentence in changed:
        say(f"- {sentence}")
    folder = origin.environment.get("folder")
    if folder is not None and folder != str(Path.cwd()):
        say(f"- relative paths are looked for in {Path.cwd()}; it was trained in {folder}")


def _compare(origin: Origin, recipe: Recipe, folder: Path, say: Say) -> list[Line]:
    """The lines of the comparison, said one by one; no more of them once the end cannot be the same."""
    with waiting("downloading the registered version"):
        model, damage = download_as_it_is(origin.version, folder / "registered")
        before = version_of_start(origin)
        start = download_model_folder(before, folder / "start") if before is not None else None
    if damage:
        say(f"- {damage}")
    recorded = Recorded(
        corpus=origin.corpus,
        tokenizer=origin.tokenizer,
        tokens=origin.tokens,
        model=model,
        metrics=origin.version.metrics,
        start=start,
    )
    say(_row("", "recorded", "rebuilt", "same"))
    lines = []
    for line in rebuild(recipe, recorded, root=folder / "stages", downloads=downloads_folder()):
        lines.append(line)
        say(_row(line.name, line.then, line.now, "yes" if line.same else "NO"))
        for note in line.notes:
            say(f"  - {note}")
        if not line.goes_on:
            break
    return lines


def _row(*cells: str) -> str:
    widths = (_NAME, _KEY, _KEY, 0)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _conclude(origin: Origin, recipe: Recipe, lines: Sequence[Line], found: Sequence[Difference], say: Say) -> bool:
    name = f"{origin.version.family} version {origin.version.version}"
    first = next((line.name for line in lines if not line.same), None)
    if first is None:
        say(f"{name} is reproduced: data, tokenizer, weights and figures are identical")
        return True
    say(f"{name} is not reproduced: the first thing to differ is {first}")
    for reason in _reasons(origin, recipe, found):
        say(f"- likely because {reason}")
    return False


def _reasons(origin: Origin, recipe: Recipe, found: Sequence[Difference]) -> list[str]:
    if not origin.environment:
        return ["of something that was not recorded"]
    reasons = [f"{one.name} was {one.then} and is {one.now}" for one in found]
    if recipe.training.minutes:
        reasons.append("training.minutes ended the training, and not its steps")
    if _clocked(origin):
        reasons.append("finish_by ended the training, and not its steps")
    same = "code, packages and processor are those that were recorded"
    return reasons or [f"the registered files were changed since, or this training does not repeat: {same}"]


def _clocked(origin: Origin) -> bool:
    """Whether a time to end at decided on the weights; a training that was over before it repeats like any other."""
    return bool(origin.training.get("facts", {}).get("clocked"))
