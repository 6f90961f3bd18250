"""Weights that somebody else has made to harm, as a model, as a start of training and as converted by CTranslate2."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
from pathlib import Path

import torch
from hostile_cases import CONFIG, TOKENIZER, WEIGHTS, Made, Payload, case, raw_weights, weights_with

POOLER = "bert.pooler.dense.bias"


@case("predictor", WEIGHTS)
def pickle_under_the_name_of_safetensors(made: Made) -> None:
    (made.given / WEIGHTS).write_bytes(pickle.dumps(Payload(made.canary)))


@case("predictor", WEIGHTS)
def torch_pickle_under_the_name_of_safetensors(made: Made) -> None:
    torch.save({POOLER: Payload(made.canary)}, made.given / WEIGHTS)


@case("predictor", WEIGHTS)
def pickle_instead_of_safetensors(made: Made) -> None:
    (made.given / WEIGHTS).unlink()
    torch.save(Payload(made.canary), made.given / "pytorch_model.bin")


@case("pretrained", WEIGHTS)
def pickle_instead_of_pretrained_safetensors(made: Made) -> None:
    pickle_instead_of_safetensors(made)


@case("start", WEIGHTS)
def pickle_to_start_a_training_from(made: Made) -> None:
    pickle_under_the_name_of_safetensors(made)


@case("predictor", WEIGHTS)
def header_of_a_huge_length(made: Made) -> None:
    raw_weights(made, b"{}", length=(1 << 63) - 1)


@case("predictor", WEIGHTS)
def header_longer_than_the_file(made: Made) -> None:
    raw_weights(made, b"{}", length=1 << 20)


@case("predictor", WEIGHTS)
def header_nested_too_deep(made: Made) -> None:
    raw_weights(made, b'{"a":' + b"[" * 100_000)


@case("predictor", WEIGHTS)
def overlapping_offsets(made: Made) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    raw_weights(made, json.dumps({"a": entry, "b": entry}).encode(), b"\0" * 16)


@case("predictor", WEIGHTS)
def offsets_behind_the_end(made: Made) -> None:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [1 << 40, (1 << 40) + 8]}
    raw_weights(made, json.dumps({POOLER: entry}).encode(), b"\0" * 8)


@case("predictor", WEIGHTS)
def shape_that_overflows(made: Made) -> None:
    entry = {"dtype": "F32", "shape": [1 << 62, 1 << 62], "data_offsets": [0, 8]}
    raw_weights(made, json.dumps({POOLER: entry}).encode(), b"\0" * 8)


@case("predictor", WEIGHTS)
def a_name_twice(made: Made) -> None:
    one = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    two = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'
    raw_weights(made, b"{" + one + b"," + two + b"}", b"\0" * 8)


@case("predictor", POOLER)
def weights_of_whole_numbers(made: Made) -> None:
    weights_with(made, **{POOLER: torch.zeros(16, dtype=torch.int64)})


@case("predictor", POOLER)
def weights_of_another_shape(made: Made) -> None:
    weights_with(made, **{POOLER: torch.zeros(1 << 20)})


@case("predictor", POOLER)
def weights_of_no_dimension(made: Made) -> None:
    weights_with(made, **{POOLER: torch.tensor(1.0)})


@case("predictor", POOLER)
def weights_that_are_no_numbers(made: Made) -> None:
    weights_with(made, **{POOLER: torch.full((16,), float("nan"))})


@case("predictor", CONFIG)
def weights_that_are_not_there(made: Made) -> None:
    raw_weights(made, b"{}")


@case("predictor", WEIGHTS)
def weights_from_a_pipe(made: Made) -> None:
    (made.given / WEIGHTS).unlink()
    os.mkfifo(made.given / WEIGHTS)


@case("predictor", WEIGHTS)
def weights_from_a_device(made: Made) -> None:
    (made.given / WEIGHTS).unlink()
    (made.given / WEIGHTS).symlink_to("/dev/zero")


@case("pretrained", "vocab.txt")
def link_to_a_private_file_in_pretrained_weights(made: Made) -> None:
    (made.given / TOKENIZER).unlink()
    (made.given / "vocab.txt").symlink_to("/etc/passwd")


# Converted weights.


def convert(made: Made) -> Path:
    folder = made.given / "ctranslate2" / "float32"
    folder.mkdir(parents=True)
    digest = hashlib.sha256((made.given / WEIGHTS).read_bytes()).hexdigest()
    (folder / "source.json").write_text(json.dumps({"weights_sha256": digest}))
    (folder / "vocabulary.json").write_text(json.dumps(["<pad>", "<s>", "</s>", "<unk>"]))
    (folder / "config.json").write_text("{}")
    return folder


@case("converted", "ctranslate2/float32")
def converted_weights_that_are_a_pickle(made: Made) -> None:
    (convert(made) / "model.bin").write_bytes(pickle.dumps(Payload(made.canary)))


@case("converted", "ctranslate2/float32")
def converted_weights_of_an_absurd_size(made: Made) -> None:
    name = b"TransformerDecoderModelSpec\0"
    head = struct.pack("<IH", 6, len(name)) + name + struct.pack("<II", 8, 0xFFFFFFFF)
    (convert(made) / "model.bin").write_bytes(head + b"\xff" * 64)


@case("converted", "ctranslate2/float32")
def converted_weights_of_others(made: Made) -> None:
    (convert(made) / "source.json").write_text('{"weights_sha256": "0"}')
