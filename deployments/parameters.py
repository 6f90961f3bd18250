"""What the deployments run with: the defaults of this version, unless somebody chose otherwise, which stays.

`prefect deploy` writes the defaults each time. What was changed on a deployment's page, or came from the file of an
earlier `up --config`, is told from the defaults that were applied last, and is put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from deployments.prefect_api import RefusedError, ask
from llm.files import read_json, write_json
from llm.home import home

_NIGHTLY = "nightly"
_TAG = "nightshift"  # of all that prefect.yaml describes
_FILE = "deployments.json"
_APPLIED, _CHOSEN = "applied", "chosen"
Parameters = Mapping[str, Any]


def apply_with_parameters(
    api: str, apply: Callable[[], None], *, nights: Parameters | None, say: Callable[[str], None]
) -> None:
    """Let `apply` write the deployments with their defaults on the server at `api`, then put back what was chosen.

    `nights`: what a file says that nightly does; the forms of its families open with their part of it. It comes before
    what was chosen for these in another way.

    Raises ServerError when the server does not answer, and what `apply` raises; what was chosen is put back next time.
    """
    record, known = home() / _FILE, _known()
    applied, chosen = known[_APPLIED], known[_CHOSEN]
    if chosen is None:  # else an `up` was ended on its way, and nobody has chosen since
        chosen = {name: now for name, now in _present(api).items() if name in applied and now != applied[name]}
    write_json(record, {_APPLIED: applied, _CHOSEN: chosen})
    apply()
    defaults = _present(api)
    write_json(record, {_APPLIED: defaults, _CHOSEN: chosen})
    from_file = _of_nights(nights) if nights is not None else {}
    wanted = {**chosen, **from_file}
    fits = [name for name in wanted if name in defaults and _put_back(api, name, wanted[name], say=say)]
    write_json(record, {_APPLIED: defaults, _CHOSEN: None})
    if kept := [name for name in fits if name not in from_file]:
        say(f"kept     what was chosen for {', '.join(kept)} on its page or by an earlier --config")
        say(f"         (to go back to the defaults, stop this, delete {record} and start it again)")


def renew_late_nights(api: str, *, nights: Parameters | None) -> None:
    """Give nights that are late, before a worker takes them, what was chosen: a run keeps what it was planned with.

    That is `nights`, out of a file, or what an `up` that was ended on its way had still to put back.

    Raises ServerError when the server does not answer.
    """
    known = _known()
    wanted = {"config": nights} if nights is not None else (known[_CHOSEN] or {}).get(_NIGHTLY)
    if wanted is None:
        return
    late = {
        "deployments": {"name": {"any_": [_NIGHTLY]}},
        "flow_runs": {
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
        },
    }
    for run in ask(api, "POST", "flow_runs/filter", late):
        ask(api, "PATCH", f"flow_runs/{run['id']}", {"parameters": wanted})


def _known() -> dict[str, Any]:
    record = home() / _FILE
    known: dict[str, Any] = read_json(record) if record.exists() else {_APPLIED: {}, _CHOSEN: None}
    return known


def _of_nights(nights: Parameters) -> dict[str, Parameters]:
    """Parameters by deployment."""
    forms = {f"retrain-{config['family']}": {"config": config} for config in nights["families"]}
    return {_NIGHTLY: {"config": nights}, **forms}


def _present(api: str) -> dict[str, Parameters]:
    return {one["name"]: one["parameters"] for one in ask(api, "POST", "deployments/filter", _filter())}


def _filter(**more: Any) -> dict[str, Any]:
    return {"deployments": {"tags": {"all_": [_TAG]}, **more}}


def _put_back(api: str, name: str, parameters: Parameters, *, say: Callable[[str], None]) -> bool:
    [deployment] = ask(api, "POST", "deployments/filter", _filter(name={"any_": [name]}))
    if deployment["parameters"] == parameters:
        return True
    try:
        ask(api, "PATCH", f"deployments/{deployment['id']}", {"parameters": parameters})
    except RefusedError as error:
        # Another version has other options. The defaults serve until somebody chooses again.
        kept = home() / f"{name}.json"
        write_json(kept, parameters)
        say(f"DEFAULTS for {name}: what was chosen does not fit this version, and is in {kept} ({error.problem})")
        return False
    return True
