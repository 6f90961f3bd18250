"""What a version was decided on, and under which champion: so that a night asks nothing that is answered already."""

from __future__ import annotations

from mlflow import MlflowClient

from tasks.registry.connection import client, registry_errors
from tasks.registry.versions import QUESTION, Version, get_version, tagged


def remember_answer(version: Version, question: str, *, champion: int | None) -> None:
    """Note on `version` the question that it was decided on, and who is champion since (None: nobody).

    Comes last, so that a version with this note is one whose decision was carried out.
    """
    with registry_errors(f"tagging {version.family} version {version.version}"):
        client().set_model_version_tag(version.family, str(version.version), QUESTION, _note(question, champion))


def find_answer(family: str, question: str, *, champion: int | None) -> Version | None:
    """The newest version that was decided on `question`, if `champion` was champion when that was done."""
    with registry_errors(f"looking for a decided version of {family}"):
        numbers = tagged(mlflow_client := client(), family, QUESTION, _note(question, champion))
        return get_version(mlflow_client, family, numbers[-1]) if numbers else None


def carry_answer(mlflow_client: MlflowClient, version: Version, *, champion: int) -> None:
    """Let `version` answer its question, if it was decided on one, under another champion too."""
    tags = mlflow_client.get_model_version(version.family, str(version.version)).tags
    question, slash, _ = tags.get(QUESTION, "").rpartition("/")
    if slash:
        mlflow_client.set_model_version_tag(version.family, str(version.version), QUESTION, _note(question, champion))


def _note(question: str, champion: int | None) -> str:
    return f"{question}/{champion or 'none'}"
