"""A model from code for MLflow: a translator of ours through `transformers` alone, `generate` over its folder.

What MLflow's transformers flavour would serve if it could: transformers 5 has no pipeline for translation any more.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

with warnings.catch_warnings(record=True):  # MLflow asks for type hints, with which it drops the params

    class Translator(PythonModel):
        """Texts in, translations out."""

        def load_context(self, context: Any) -> None:
            """Load the folder that was logged as `model`."""
            folder = context.artifacts["model"]
            self.model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
            self.tokenizer = AutoTokenizer.from_pretrained(folder)

        @torch.inference_mode()
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
            """One translation a text."""
            texts = list(model_input.iloc[:, 0]) if hasattr(model_input, "iloc") else list(model_input)
            inputs = self.tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
            written = self.model.generate(**inputs, **(params or {}), do_sample=False)
            return self.tokenizer.batch_decode(written, skip_special_tokens=True)


set_model(Translator())
