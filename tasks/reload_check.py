"""Run as a process of its own: load a logged model as a stranger would, and let it answer.

    python -m tasks.reload_check < REQUEST_JSON

The request is {"model": URI or folder, "inputs": [...], "answers": path}; that path receives {"answers": [...], "code":
path of the `llm` that answered}. Nothing of `llm` may be imported here before the model is loaded: the first import
wins, and the copy that was logged with the model is the one to test. What any model needs is imported while the
request is still on its way.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow.pyfunc
import requests
import torch  # noqa: F401
import transformers  # noqa: F401
from mlflow.exceptions import MlflowException

# The exit code that says nothing of the model (EX_TEMPFAIL of sysexits.h); `tasks.reload` knows it too.
SERVER_AWAY = 75


def main(request: str) -> None:
    """Answer the inputs of the request with its model and write what it said."""
    asked = json.loads(request)
    model = mlflow.pyfunc.load_model(asked["model"])
    found = model.predict(asked["inputs"])
    code = sys.modules["llm"].__file__
    text = json.dumps({"answers": list(found), "code": code}, ensure_ascii=False)
    Path(asked["answers"]).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    # Nothing comes when there is no model to try after all.
    if asked := sys.stdin.read():
        try:
            main(asked)
        except MlflowException as error:
            if not isinstance(error.__cause__ or error.__context__, requests.exceptions.RequestException):
                raise
            sys.stderr.write(f"{error}\n")
            sys.exit(SERVER_AWAY)
