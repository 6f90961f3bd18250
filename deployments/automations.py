"""What the Prefect server does by itself: tell a webhook how runs ended.

Spoken to over its REST API: importing prefect takes seconds, and `nightshift up` needs nothing else of it.
"""

from __future__ import annotations

import os
from typing import Any

from deployments.prefect_api import ask
from deployments.processes import ServerError

WEBHOOK_VARIABLE = "NIGHTSHIFT_WEBHOOK"
_GONE = "nightshift: end runs whose process is gone"
_TELL = "nightshift: tell the webhook how runs ended"
_BLOCK = "nightshift-webhook"
_ENDS = tuple(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Crashed", "Cancelled"))

# One line of text, the field that Slack, Mattermost, Rocket.Chat and Google Chat all show.
_PAYLOAD = (
    '{"text": {{ (flow_run.name ~ ": " ~ flow_run.state.name ~ ", " ~ (flow_run.state.message or "no message") ~ '
    '"\\n" ~ (flow_run | ui_url)) | tojson }}}'
)


def webhook_address() -> str | None:
    """What NIGHTSHIFT_WEBHOOK says; None where it is not set.

    Raises ServerError for an address that is not http(s); it is not shown, since whoever has it may post.
    """
    address = os.environ.get(WEBHOOK_VARIABLE)
    if address and not address.startswith(("https://", "http://")):
        raise ServerError(
            f"{WEBHOOK_VARIABLE} does not start with https://", remedy="give the whole address of the webhook"
        )
    return address or None


def apply_automations(api: str, *, webhook: str | None) -> None:
    """Create or update the automation on the server at `api`; without a `webhook` nobody is told, as by default.

    Twice is the same as once. The server keeps the webhook's address, which is a secret, encrypted. An automation of
    earlier versions that ended silent runs is removed: it ended living ones too, when the server had been away.

    Raises ServerError with the server's reply when it refuses something.
    """
    wanted = {_TELL: _tell(_webhook_block(api, webhook))} if webhook else {}
    present = {one["name"]: one["id"] for one in ask(api, "POST", "automations/filter", {})}
    for name in (_GONE, _TELL):
        if name in present and name not in wanted:
            ask(api, "DELETE", f"automations/{present[name]}")
    for name, automation in wanted.items():
        body = {"name": name, "enabled": True, **automation}
        if name in present:
            ask(api, "PUT", f"automations/{present[name]}", body)
        else:
            ask(api, "POST", "automations/", body)


def _tell(block: str) -> dict[str, Any]:
    """Runs of deployments only: a night that retrains three families is told once."""
    trigger = {
        "type": "event",
        "posture": "Reactive",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.role": "deployment"},
        "expect": list(_ENDS),
        "threshold": 1,
        "within": 0,
    }
    action = {"type": "call-webhook", "block_document_id": block, "payload": _PAYLOAD}
    return {"description": f"POSTs to the address in {WEBHOOK_VARIABLE}.", "trigger": trigger, "actions": [action]}


def _webhook_block(api: str, webhook: str) -> str:
    """The id of the block that holds the address, made or brought up to date."""
    data = {"url": webhook, "method": "POST", "headers": {"Content-Type": "application/json"}}
    kind = ask(api, "GET", "block_types/slug/webhook")["id"]
    found = ask(api, "POST", "block_documents/filter", {"block_documents": {"name": {"any_": [_BLOCK]}}})
    if found:
        identifier: str = found[0]["id"]
        ask(api, "PATCH", f"block_documents/{identifier}", {"data": data, "merge_existing_data": False})
        return identifier
    schemas = ask(api, "POST", "block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind]}}})
    body = {"name": _BLOCK, "data": data, "block_type_id": kind, "block_schema_id": schemas[0]["id"]}
    made: str = ask(api, "POST", "block_documents/", body)["id"]
    return made
