"""Models from code: the script that MLflow runs to load a registered model; needs no Prefect and no repository."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.model import PythonModel


def callers_arguments(data: Any, params: Any) -> tuple[Any, Any]:
    """What the caller gave to MLflow's `predict`, before MLflow dropped what the signature does not name.

    MLflow only logs a warning for an unknown parameter, says nothing about a second column, and hands on what is left.
    Whoever misspells max_new_tokens must hear it, so we look at the call itself, a few frames up. Called in any other
    way, `data` and `params` are what was given.
    """
    outer = PyFuncModel.predict.__code__
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is outer:
            return frame.f_locals["data"], frame.f_locals["params"]
        frame = frame.f_back
    return data, params


def refuse_unknown(given: Mapping[str, Any], *, known: Mapping[str, Any]) -> None:
    """Raise InputError for a parameter that the model does not have."""
    from llm.errors import InputError

    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(
            f"unknown parameter {', '.join(map(repr, unknown))}",
            remedy=f"the parameters of this model are {', '.join(sorted(known)) or 'none'}",
        )


def texts_of(data: Any) -> list[str]:
    """A list of texts out of one text, a list, a Series, an array or a one-column DataFrame.

    Raises InputError for anything else.
    """
    import pandas as pd

    from llm.errors import InputError

    if isinstance(data, str):
        return [data]
    if isinstance(data, pd.DataFrame):
        if len(data.columns) != 1:
            names = ", ".join(map(str, data.columns))
            raise InputError(
                f"the input has {len(data.columns)} columns ({names}), but the model takes one text a row",
                remedy="pass a list of texts, or the one column that holds them",
            )
        data = data.iloc[:, 0]
    texts = list(data)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"input {number} is {text!r} ({type(text).__name__}), but the model takes texts",
                remedy="pass a list of strings",
            )
    return texts


# MLflow asks for type hints on `predict`, but with them it throws the signature's params away. It sets a filter of its
# own for this warning, so an "ignore" does not help; recorded, it goes nowhere.
with warnings.catch_warnings(record=True):

    class TextModel(PythonModel):
        """Texts in; texts, or label and score records, out."""

        def load_context(self, context: Any) -> None:
            """Load the model folder that was logged as the artifact `model`."""
            # `llm` is the copy that was logged with the model: MLflow puts it first on the path before this call.
            from llm.predictor import Predictor

            self.predictor = Predictor.load(Path(context.artifacts["model"]))

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
            """One answer a text; `params` are the signature's, with its defaults filled in by MLflow."""
            data, given = callers_arguments(model_input, params)
            refuse_unknown(given or {}, known=params or {})
            return self.predictor.predict(texts_of(data), **(params or {}))


set_model(TextModel())
