"""A deployment step for prefect.yaml: the parameters of the flows, taken from the presets, where the defaults live.

So the form in the Prefect UI opens filled in, and no option stands in a second place.
"""

from __future__ import annotations

from typing import Any


def from_preset(preset: str) -> dict[str, Any]:
    """JSON parameters by placeholder: `{{ recipes.nightly }}` for all families, `{{ recipes.translation }}` for one.

    Raises ConfigError when a family has no preset of that name.
    """
    # Imported here: prefect imports this module by name, and the presets import torch.
    from flows.configuration import load_config
    from llm.families import FAMILIES

    found = {name: load_config(name, preset=preset).model_dump(mode="json") for name in FAMILIES}
    return {**found, "nightly": {"families": list(found.values())}}
