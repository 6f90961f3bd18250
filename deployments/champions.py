"""Champions on this machine: pulled from the registry, checked, and ready to answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm.errors import RegistryError
from llm.predictor import Predictor
from tasks.registry.folders import champion_folder
from tasks.registry.versions import Version, champion


@dataclass(frozen=True)
class Champion:
    """A registered version, the folder that was pulled, and its model."""

    version: Version
    folder: Path
    predictor: Predictor


def load_champion(family: str) -> Champion:
    """Pull the family's champion and load it; a folder that was pulled before is used again.

    Raises RegistryError when there is no champion, ChecksumError when its files are not those that were registered.
    """
    version = champion(family)
    if version is None:
        raise RegistryError(f"{family} has no champion yet", remedy=f"train one: nightshift run {family}")
    folder = champion_folder(version)
    return Champion(version, folder, Predictor.load(folder))
