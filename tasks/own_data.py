"""A champion that learned from its users' data is not to be replaced by one of a corpus that comes with Nightshift."""

from __future__ import annotations

from llm.corpora import CORPORA
from llm.errors import GateError
from llm.recipe import Recipe
from tasks.registry.facts import option_of
from tasks.registry.versions import champion


def require_own_data(recipe: Recipe) -> None:
    """Refuse to train on a shipped corpus for a family whose champion was trained on data of its users.

    The gate compares both on the challenger's test rows. On rows of another task, which is what a default would bring,
    any model that was trained for it wins.

    Raises GateError that names both corpora, RegistryError when MLflow cannot be reached.
    """
    source = recipe.corpus.source
    if not CORPORA[source].shipped:
        return
    now = champion(recipe.family)
    before = option_of(now, "corpus.source") if now is not None else None
    if now is None or before not in CORPORA or CORPORA[before].shipped:
        return
    raise GateError(
        f"the champion of {recipe.family}, version {now.version}, was trained on data of yours (corpus.source "
        f"{before}), and this retraining would read {source}, which comes with Nightshift",
        remedy="give the nights your data: `nightshift up --config FILE`, or Corpus in the deployment's parameters; "
        "if that champion is to be replaced, set gate.replace_own_data to true",
    )
