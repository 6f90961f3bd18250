"""Weights of a pretrained BERT under our names: the encoder is taken over, the classifier is new.

Shapes: D model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from llm.errors import ModelFolderError
from llm.model.config import CONFIG_FILE, WEIGHTS_FILE
from llm.model.encoder import EncoderClassifier
from llm.model.folder import read_options
from llm.model.twins import from_twin, to_twin
from llm.model.twins.bert import BertTwin
from llm.model.weights import build_to_fit, read_weights

_POSITIONS = "bert.embeddings.position_embeddings.weight"
_POOLER = "bert.pooler."
_CLASSIFIER = "classifier."
# Checkpoints of BERT's first years name the norm's weights as TensorFlow did.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def load_encoder(
    folder: Path, *, labels: Sequence[str], dropout: float, max_positions: int | None
) -> EncoderClassifier:
    """A checkpoint of any BERT class under a new classifier, drawn from torch's current random state.

    The pooler is drawn too where the checkpoint has none. `max_positions` keeps the first so many positions; None all.

    Raises ModelFolderError that names what is missing, or is not BERT's.
    """
    options = read_options(folder)
    try:
        kind, positions = options["model_type"], options["max_position_embeddings"]
        if kind != "bert":
            raise _unusable(folder, f"model_type is {kind!r}", remedy="use a checkpoint whose model_type is bert")
        if options.get("position_embedding_type", "absolute") != "absolute":
            raise _unusable(folder, "its positions are not absolute", remedy="use a model of the plain architecture")
        kept = positions if max_positions is None else max_positions
        if kept > positions:
            raise _unusable(folder, f"it has {positions} positions", remedy=f"set model.max_positions to {positions}")
        sizes = BertTwin().sizes(options | {"max_position_embeddings": kept}, dropout=dropout)
    except KeyError as error:
        raise _unusable(folder, f"there is no {error.args[0]!r}", remedy="use a complete config.json") from None
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise _unusable(folder, f"describes no BERT ({reason:.200})", remedy="use a complete config.json") from None
    weights = _read(folder)
    model = build_to_fit(
        folder,
        options,
        weights,
        sizes=lambda: sizes,
        build=lambda: EncoderClassifier(sizes, options["vocab_size"], labels=labels),
    )
    if _POSITIONS in weights:
        weights[_POSITIONS] = weights[_POSITIONS][:kept]
    drawn = _drawn(model, pooler=not any(name.startswith(_POOLER) for name in weights))
    from_twin(model, drawn | weights, file=folder / WEIGHTS_FILE)
    return model


def _read(folder: Path) -> dict[str, Tensor]:
    """The encoder's weights, named as in BertForSequenceClassification; heads of other tasks are left out."""
    weights = {}
    for name, value in read_weights(folder).items():
        for old, new in _OLD_NAMES.items():
            name = name.replace(old, new)
        if name.startswith(("embeddings.", "encoder.", "pooler.")):  # BertModel alone has no prefix
            name = f"bert.{name}"
        if name.startswith("bert."):
            weights[name] = value
    return weights


def _drawn(model: EncoderClassifier, *, pooler: bool) -> dict[str, Tensor]:
    wanted = (_CLASSIFIER, _POOLER) if pooler else (_CLASSIFIER,)
    return {name: value for name, value in to_twin(model).items() if name.startswith(wanted)}


def _unusable(folder: Path, problem: str, *, remedy: str) -> ModelFolderError:
    return ModelFolderError(f"{folder / CONFIG_FILE}: {problem}", remedy=remedy)
