"""constraints.txt pins what pyproject.toml asks for, inside its bounds, and keeps out the versions known to break."""

from __future__ import annotations

import tomllib
from importlib import metadata
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def group(name: str) -> list[str]:
    found: list[str] = []
    for entry in PROJECT["dependency-groups"][name]:
        found.extend(group(entry["include-group"]) if isinstance(entry, dict) else [entry])
    return found


EXTRAS = [text for extra in PROJECT["project"]["optional-dependencies"].values() for text in extra]
REQUIREMENTS = [Requirement(text) for text in [*PROJECT["project"]["dependencies"], *EXTRAS, *group("dev")]]
LINES = [
    line
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


def pins() -> dict[str, str]:
    found = {}
    for line in LINES:
        name, equals, number = line.partition("==")
        assert equals, f"{line!r} is not an exact version"
        found[canonicalize_name(name)] = number
    return found


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_requirement_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    pinned = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pinned), f"{requirement} does not allow {pinned}"


def test_a_package_is_pinned_once() -> None:
    assert len(pins()) == len(LINES)


def test_no_pin_carries_a_local_version() -> None:
    # "+cpu" exists on some indexes only; the plain version matches it.
    assert [name for name, number in pins().items() if Version(number).local] == []


@pytest.mark.parametrize(("name", "below"), [("fastapi", "0.151"), ("sqlalchemy", "2.1")])
def test_versions_that_break_the_prefect_server_in_silence_are_kept_out(name: str, below: str) -> None:
    assert Version(pins()[name]) < Version(below)
    requirement = next(found for found in REQUIREMENTS if found.name == name)
    assert not requirement.specifier.contains(below)


def test_what_is_installed_here_is_what_was_pinned() -> None:
    installed = {}
    for name in pins():
        try:
            installed[name] = Version(version(name)).public
        except PackageNotFoundError:
            # Pins for other platforms and optional extras need not be here.
            continue
    different = {name: found for name, found in installed.items() if Version(pins()[name]) != Version(found)}
    assert different == {}


def needed() -> dict[str, list[tuple[str, Requirement]]]:
    """Each package that is installed for us, with who asks for it, and how."""
    waiting = [("nightshift", requirement) for requirement in REQUIREMENTS]
    found: dict[str, list[tuple[str, Requirement]]] = {}
    while waiting:
        asker, requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        try:
            texts = metadata.requires(name) or []
        except PackageNotFoundError:
            continue  # of an extra that this environment has not
        if (asker, requirement) in found.setdefault(name, []):
            continue
        found[name].append((asker, requirement))
        for below in map(Requirement, texts):
            marker = below.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)):
                waiting.append((name, below))
    return found


def test_all_that_is_installed_for_us_is_pinned_down_to_the_last() -> None:
    # What is not pinned is another package tomorrow, and nobody has looked at it.
    assert sorted(needed().keys() - pins().keys()) == []


def test_no_package_has_another_version_than_its_dependents_ask_for() -> None:
    wrong = [
        f"{asker} asks for {requirement}, installed is {version(name)}"
        for name, askers in needed().items()
        for asker, requirement in askers
        if not requirement.specifier.contains(version(name), prereleases=True)
    ]
    assert wrong == []
