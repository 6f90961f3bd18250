"""What `nightshift serve` does: a model out of the registry or a folder, answering until it is stopped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployments.processes import terminable
from llm.predictor import Predictor
from llm.progress import waiting
from llm.serving.server import open_port, serve
from tasks.registry.folders import champion_folder
from tasks.registry.moves import find_reference


@dataclass(frozen=True)
class Served:
    """A model folder, and what to call the model in it."""

    name: str
    folder: Path


def registered_model(family: str, reference: str) -> Served:
    """A version of a family (a number or an alias), pulled unless it was pulled before, and checked in any case.

    Raises RegistryError when there is no such version, ChecksumError when its files are not those that were registered.
    """
    version = find_reference(family, reference)
    return Served(f"{family} version {version.version}", champion_folder(version))


def keep_serving(find: Callable[[], Served], *, port: int, say: Callable[[str], None]) -> None:
    """Load the model that `find` gives and answer on loopback until a signal; the addresses are told through `say`.

    Raises ConfigError when the port cannot be had, and what `find` raises.
    """
    with terminable(), open_port(port) as listening:
        with waiting("loading the model"):
            model = find()
            predictor = Predictor.load(model.folder)

        def ready(address: str) -> None:
            say(f"{model.name}  {address}/invocations")
            say("Ctrl-C stops it.")

        _log_to_stderr()
        serve(predictor, name=model.name, listening=listening, ready=ready)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("llm.serving").setLevel(logging.INFO)
