"""Converted weights: a model of ours as the files that CTranslate2 reads, kept beside the safetensors.

The weights go straight from our modules into CTranslate2's specification: our stacked matrices (queries, keys and
values in one) are what it wants, and neither transformers nor a second copy of the names is needed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from llm.errors import ConfigError, ModelFolderError
from llm.files import fsync_folder, fsync_tree, read_json, sha256_of, write_json
from llm.model.config import WEIGHTS_FILE
from llm.model.decoder import LLAMA, DecoderModel
from llm.model.encoder_decoder import PEGASUS, EncoderDecoderModel
from llm.model.layers import Block
from llm.tokenizer import BOS_ID, EOS_ID, PAD_ID, SPECIAL_TOKENS, UNK_ID

FOLDER = "ctranslate2"
# Says which safetensors the files were made of.
SOURCE_FILE = "source.json"


def import_ctranslate2() -> Any:
    """The package.

    Raises ConfigError when it is not installed.
    """
    try:
        return import_module("ctranslate2")
    except ModuleNotFoundError:
        raise ConfigError(
            "the engine needs the package ctranslate2, which is not installed",
            remedy="pip install ctranslate2, or use the engine torch",
        ) from None


def writes_text(model: nn.Module) -> bool:
    """Whether there is something to convert."""
    return type(model) in _SPECIFY


def converted(folder: Path, model: nn.Module, *, tokens: Sequence[str], compute_type: str) -> Path:
    """`folder/ctranslate2/<compute_type>`, written now if it is not there; `model` is what `folder` holds.

    `tokens` are the V tokens by id. The files are written under a temporary name and renamed: they are whole or absent.

    Raises ModelFolderError when the files were made of other weights, or cannot be written.
    """
    final = folder / FOLDER / compute_type
    source = {"weights_sha256": sha256_of(folder / WEIGHTS_FILE)}
    if not final.exists():
        try:
            _write(final, model, tokens=tokens, compute_type=compute_type, source=source)
        except OSError as error:
            raise ModelFolderError(
                f"{final}: cannot be written ({error})", remedy="copy the model folder to where you may write"
            ) from None
    if read_json(final / SOURCE_FILE, largest=1 << 20) != source:
        raise ModelFolderError(
            f"{final}: made of other weights than {folder / WEIGHTS_FILE}",
            remedy="delete it: it will be made anew",
        )
    return final


def _write(final: Path, model: nn.Module, *, tokens: Sequence[str], compute_type: str, source: dict[str, str]) -> None:
    spec = specification(model, tokens)
    spec.validate()
    spec.optimize(quantization=compute_type)
    final.parent.mkdir(exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=f".{final.name}-"))
    try:
        spec.save(str(temporary))
        write_json(temporary / SOURCE_FILE, source)
        temporary.chmod(0o755)
        fsync_tree(temporary)
        # Another process may have been as fast; a folder that is there is whole.
        if not final.exists():
            os.replace(temporary, final)
        fsync_folder(final.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def specification(model: nn.Module, tokens: Sequence[str]) -> Any:
    """CTranslate2's ModelSpec of a model of ours, its special tokens and start token set."""
    specs = import_ctranslate2().specs
    spec = _SPECIFY[type(model)](specs, model, list(tokens))
    spec.config.bos_token = SPECIAL_TOKENS[BOS_ID]
    spec.config.eos_token = SPECIAL_TOKENS[EOS_ID]
    spec.config.unk_token = SPECIAL_TOKENS[UNK_ID]
    return spec


def _decoder(specs: Any, model: DecoderModel, tokens: list[str]) -> Any:
    sizes = model.sizes
    spec = specs.TransformerDecoderModelSpec.from_config(
        model.config.layers,
        sizes.heads,
        pre_norm=True,
        activation=specs.Activation.SWISH,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        num_heads_kv=sizes.kv_heads if sizes.kv_heads != sizes.heads else None,
    )
    spec.config.layer_norm_epsilon = LLAMA.norm_epsilon
    spec.register_vocabulary(tokens)
    spec.decoder.scale_embeddings = False
    spec.decoder.embeddings.weight = _value(model.embedding.weight)
    spec.decoder.projection.weight = _value(model.embedding.weight)
    spec.decoder.layer_norm.gamma = _value(model.norm.weight)
    for target, block in zip(spec.decoder.layer, model.blocks, strict=True):
        assert isinstance(block, Block)
        _linear(target.self_attention.linear[0], block.attention.query_key_value)
        _linear(target.self_attention.linear[1], block.attention.output)
        target.self_attention.layer_norm.gamma = _value(block.attention_norm.weight)
        gate, up = block.feed_forward.inner.weight.chunk(2, dim=0)
        target.ffn.linear_0.weight, target.ffn.linear_0_noact.weight = _value(gate), _value(up)
        _linear(target.ffn.linear_1, block.feed_forward.output)
        target.ffn.layer_norm.gamma = _value(block.feed_forward_norm.weight)
    return spec


def _encoder_decoder(specs: Any, model: EncoderDecoderModel, tokens: list[str]) -> Any:
    spec = specs.TransformerSpec.from_config(
        (model.config.encoder_layers, model.config.decoder_layers),
        model.config.heads,
        pre_norm=True,
        activation=specs.Activation.RELU,
    )
    spec.config.layer_norm_epsilon = PEGASUS.norm_epsilon
    # Our targets begin with <pad>, as the twin's do; sources end with </s> already.
    spec.config.decoder_start_token = SPECIAL_TOKENS[PAD_ID]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.encoder.embeddings[0].weight = _value(model.embedding.weight)
    spec.decoder.embeddings.weight = _value(model.embedding.weight)
    spec.decoder.projection.weight = _value(model.embedding.weight)
    sides = (
        (spec.encoder, model.encoder_blocks, model.encoder_norm),
        (spec.decoder, model.decoder_blocks, model.decoder_norm),
    )
    for side, blocks, norm in sides:
        side.scale_embeddings = model.config.width**0.5
        side.position_encodings.encodings = _value(model.positions)
        _norm(side.layer_norm, norm)
        for target, block in zip(side.layer, blocks, strict=True):
            assert isinstance(block, Block)
            _norm(target.self_attention.layer_norm, block.attention_norm)
            _linear(target.self_attention.linear[0], block.attention.query_key_value)
            _linear(target.self_attention.linear[1], block.attention.output)
            if block.cross_attention is not None:
                _norm(target.attention.layer_norm, block.cross_attention_norm)
                _linear(target.attention.linear[0], block.cross_attention.query)
                _linear(target.attention.linear[1], block.cross_attention.key_value)
                _linear(target.attention.linear[2], block.cross_attention.output)
            _norm(target.ffn.layer_norm, block.feed_forward_norm)
            _linear(target.ffn.linear_0, block.feed_forward.inner)
            _linear(target.ffn.linear_1, block.feed_forward.output)
    return spec


_SPECIFY: dict[type[nn.Module], Callable[[Any, Any, list[str]], Any]] = {
    DecoderModel: _decoder,
    EncoderDecoderModel: _encoder_decoder,
}


def _value(weight: Tensor | nn.Module) -> Any:
    assert isinstance(weight, Tensor)
    # A copy: two tied matrices become one by value, and in-place quantisation must not touch the model's own.
    return weight.detach().float().cpu().numpy().copy()


def _linear(target: Any, linear: Any) -> None:
    target.weight = _value(linear.weight)
    if linear.bias is not None:
        target.bias = _value(linear.bias)


def _norm(target: Any, norm: Any) -> None:
    target.gamma, target.beta = _value(norm.weight), _value(norm.bias)
