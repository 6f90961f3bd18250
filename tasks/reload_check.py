"""Run by the gate as a process of its own: load a logged model as a stranger would, and repeat its predictions.

    python -m tasks.reload_check MODEL_URI PREDICTIONS_JSON ANSWERS_JSON

PREDICTIONS_JSON holds {"inputs": [...]}; ANSWERS_JSON receives {"answers": [...], "code": path of the
`llm` that answered}. Nothing of `llm` may be imported here before the model is loaded: the first import wins, and the
copy that was logged with the model is the one to test.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow.pyfunc


def main(model_uri: str, predictions: Path, answers: Path) -> None:
    """Answer the inputs in `predictions` with the model and write what it said."""
    asked = json.loads(predictions.read_text(encoding="utf-8"))
    model = mlflow.pyfunc.load_model(model_uri)
    found = model.predict(asked["inputs"])
    code = sys.modules["llm"].__file__
    answers.write_text(json.dumps({"answers": list(found), "code": code}, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
