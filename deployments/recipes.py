"""A deployment step for prefect.yaml: the parameters of the flows, taken from the presets, where the defaults live.

So the form in the Prefect UI opens filled in, and no option stands in a second place.
"""

from __future__ import annotations

import os
from typing import Any
from zoneinfo import ZoneInfo

from llm.errors import ConfigError

ZONE_VARIABLE = "NIGHTSHIFT_ZONE"
_UTC = "Etc/UTC"


def zone() -> str:
    """The zone of the schedule: what NIGHTSHIFT_ZONE names, or UTC.

    Raises ConfigError when there is no such zone.
    """
    name = os.environ.get(ZONE_VARIABLE) or _UTC
    try:
        # A name that leaves the folder of zones, or names one of its folders, is no better than one that is not there.
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ConfigError(f"there is no time zone {name!r}", remedy="name one as Europe/Berlin or Etc/UTC") from None
    return name


def set_zone(name: str) -> None:
    """Let the deployments that are applied from here on be scheduled in this zone; raises what `zone` raises."""
    os.environ[ZONE_VARIABLE] = name
    zone()


def from_preset(preset: str) -> dict[str, Any]:
    """JSON parameters by placeholder: `{{ recipes.nightly }}` for all families, `{{ recipes.translation }}` for one.

    And `{{ recipes.zone }}`. Raises ConfigError when a family has no preset of that name, or the zone does not exist.
    """
    # Imported here: prefect imports this module by name, and the presets import torch.
    from flows.configuration import load_config
    from llm.families import FAMILIES

    found = {name: load_config(name, preset=preset).model_dump(mode="json") for name in FAMILIES}
    return {**found, "nightly": {"families": list(found.values())}, "zone": zone()}
