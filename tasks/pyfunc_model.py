"""Models from code: the script that MLflow runs to load a registered model; needs no Prefect and no repository."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import PyFuncModel
from mlflow.pyfunc.model import PythonModel

# The module that uvicorn imports for `mlflow models serve`; importing it loads the model, then builds the app.
_MLFLOWS_APP = "mlflow.pyfunc.scoring_server.app"


class Refused(MlflowException):
    """Bad input, as one sentence with status 400.

    Of any other exception MLflow's server sends the traceback, and before the message of its own it writes the whole
    input once more, however long it is: here the reply is the sentence alone.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, error_code=BAD_REQUEST)
        self.sentence = sentence

    def serialize_as_json(self) -> str:
        """The body of the reply."""
        return json.dumps({"error_code": self.error_code, "message": self.sentence})


@contextmanager
def bad_input_refused() -> Iterator[None]:
    """Turn the errors that a caller can do something about into Refused."""
    from llm.errors import ConfigError, InputError

    try:
        yield
    except (ConfigError, InputError) as error:
        raise Refused(error.sentence) from None


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
    import numpy as np
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
    if not isinstance(data, list | tuple | pd.Series | np.ndarray):
        raise InputError(
            f"the input is {data!r:.80} ({type(data).__name__}), but the model takes texts",
            remedy="pass a list of strings",
        )
    texts = list(data)
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"input {number} is {text!r:.80} ({type(text).__name__}), but the model takes texts",
                remedy="pass a list of strings",
            )
    return texts


def guard_mlflows_server() -> None:
    """Where MLflow's server is loading this model, put our limits around the app that it builds right after.

    That server reads a body of any length into memory: 1 GB of JSON takes 16 GB and the process with it. It has no hook
    for such a limit, but it looks FastAPI up once the model is there, so the next app that is built is a guarded one.
    """
    if _MLFLOWS_APP not in sys.modules:
        return
    import fastapi

    from llm.serving.guard import Guard

    plain = fastapi.FastAPI

    class GuardedFastAPI(plain):  # type: ignore[misc, valid-type]
        def __init__(self, **settings: Any) -> None:
            fastapi.FastAPI = plain  # type: ignore[misc]
            super().__init__(**settings)
            self.add_middleware(Guard)

    fastapi.FastAPI = GuardedFastAPI  # type: ignore[misc]


# MLflow asks for type hints on `predict`, but with them it throws the signature's params away. It sets a filter of its
# own for this warning, so an "ignore" does not help; recorded, it goes nowhere.
with warnings.catch_warnings(record=True):

    class TextModel(PythonModel):
        """Texts in; texts, or label and score records, out."""

        def load_context(self, context: Any) -> None:
            """Load the model folder that was logged as the artifact `model`."""
            # `llm` is the copy that was logged with the model: MLflow puts it first on the path before this call.
            from llm.predictor import Predictor

            guard_mlflows_server()
            self.predictor = Predictor.load(Path(context.artifacts["model"]))

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
            """One answer a text; `params` are the signature's, with its defaults filled in by MLflow."""
            data, given = callers_arguments(model_input, params)
            with bad_input_refused():
                refuse_unknown(given or {}, known=params or {})
                texts = texts_of(data)
                self.predictor.check_count(texts)
                return self.predictor.predict(texts, **(params or {}))


set_model(TextModel())
