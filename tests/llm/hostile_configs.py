"""Configurations and tokenizers that somebody else has made to harm, and what lies beside a good model."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from hostile_cases import CONFIG, TOKENIZER, Made, Payload, case, edit, harmless, sparse

# config.json and nightshift.json.


@case("predictor", CONFIG)
def code_named_in_the_config(made: Made) -> None:
    (made.given / "modeling_own.py").write_text(f"open({str(made.canary)!r}, 'w')\n")
    edit(made.given, CONFIG, auto_map={"AutoModel": "modeling_own.Own"})


@case("pretrained", CONFIG)
def code_named_in_a_pretrained_config(made: Made) -> None:
    code_named_in_the_config(made)


@case("predictor", CONFIG)
def trust_asked_for_in_the_config(made: Made) -> None:
    edit(made.given, CONFIG, trust_remote_code=True)


@case("predictor", CONFIG)
def another_architecture(made: Made) -> None:
    edit(made.given, CONFIG, model_type="os.system")


@case("predictor", CONFIG)
def an_architecture_that_is_a_list(made: Made) -> None:
    edit(made.given, CONFIG, model_type=["bert"])


@case("predictor", CONFIG)
def a_trillion_layers(made: Made) -> None:
    edit(made.given, CONFIG, num_hidden_layers=10**12)


@case("predictor", CONFIG)
def a_trillion_positions(made: Made) -> None:
    edit(made.given, CONFIG, max_position_embeddings=10**12)


@case("predictor", CONFIG)
def a_trillion_entries(made: Made) -> None:
    edit(made.given, CONFIG, vocab_size=10**12)


@case("pretrained", CONFIG)
def a_trillion_pretrained_positions(made: Made) -> None:
    edit(made.given, CONFIG, max_position_embeddings=10**12)


@case("predictor", CONFIG)
def the_largest_sizes_that_are_allowed(made: Made) -> None:
    edit(made.given, CONFIG, hidden_size=8192, num_hidden_layers=128, intermediate_size=65536, num_attention_heads=128)


@case("predictor", CONFIG)
def sizes_that_are_texts(made: Made) -> None:
    edit(made.given, CONFIG, hidden_size="__import__('os').system('id')")


@case("predictor", CONFIG)
def labels_that_are_numbers(made: Made) -> None:
    edit(made.given, CONFIG, id2label=7)


@case("predictor", CONFIG)
def config_that_is_a_list(made: Made) -> None:
    (made.given / CONFIG).write_text("[]")


@case("predictor", CONFIG)
def config_nested_too_deep(made: Made) -> None:
    (made.given / CONFIG).write_text('{"a":' + "[" * 100_000)


@case("predictor", CONFIG)
def config_of_a_gigabyte(made: Made) -> None:
    sparse(made.given / CONFIG)


@case("predictor", CONFIG)
def config_that_is_a_pipe(made: Made) -> None:
    (made.given / CONFIG).unlink()
    os.mkfifo(made.given / CONFIG)


@case("predictor", CONFIG)
def config_that_is_a_link_out(made: Made) -> None:
    (made.given / CONFIG).rename(made.given.parent / "outside.json")
    (made.given / CONFIG).symlink_to("../outside.json")


@case("predictor", "nightshift.json")
def description_without_a_recipe(made: Made) -> None:
    edit(made.given, "nightshift.json", recipe=None)


@case("predictor", "nightshift.json")
def family_that_is_a_module(made: Made) -> None:
    edit(made.given, "nightshift.json", family={"llm.families": "os:system"})


# Tokenizers.


def tokenizer_part(made: Made, part: str, value: Any) -> None:
    edit(made.given, TOKENIZER, **{part: value})


@case("predictor", TOKENIZER)
def expression_that_takes_years(made: Made) -> None:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    own = json.loads((made.given / TOKENIZER).read_text())["pre_tokenizer"]
    tokenizer_part(made, "pre_tokenizer", {"type": "Sequence", "pretokenizers": [split, own]})


@case("predictor", TOKENIZER)
def vocabulary_that_is_a_path(made: Made) -> None:
    tokenizer_part(made, "model", {"type": "BPE", "vocab": "/etc/passwd", "merges": "/etc/passwd"})


@case("predictor", TOKENIZER)
def component_that_does_not_exist(made: Made) -> None:
    tokenizer_part(made, "normalizer", {"type": "Python", "code": "import os"})


@case("predictor", TOKENIZER)
def charsmap_that_makes_the_library_panic(made: Made) -> None:
    tokenizer_part(made, "normalizer", {"type": "Precompiled", "precompiled_charsmap": "AAAA"})


@case("predictor", TOKENIZER)
def numbers_with_gaps(made: Made) -> None:
    model = json.loads((made.given / TOKENIZER).read_text())["model"]
    model["vocab"]["far"] = 4_000_000_000
    tokenizer_part(made, "model", model)


@case("predictor", TOKENIZER)
def more_entries_than_weights(made: Made) -> None:
    model = json.loads((made.given / TOKENIZER).read_text())["model"]
    model["vocab"] |= {f"more{number}": len(model["vocab"]) + number for number in range(100)}
    tokenizer_part(made, "model", model)


@case("predictor", TOKENIZER)
def tokenizer_that_is_a_list(made: Made) -> None:
    (made.given / TOKENIZER).write_text("[1]")


@case("predictor", TOKENIZER)
def tokenizer_nested_too_deep(made: Made) -> None:
    (made.given / TOKENIZER).write_text('{"normalizer":' + '{"a":' * 100_000)


@case("predictor", TOKENIZER)
def tokenizer_of_a_gigabyte(made: Made) -> None:
    sparse(made.given / TOKENIZER)


@case("predictor", "tokenizer_config.json")
def code_named_in_the_tokenizer(made: Made) -> None:
    (made.given / "own.py").write_text(f"open({str(made.canary)!r}, 'w')\n")
    edit(made.given, "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})


# Beside a good model, and never opened.


@harmless
def pickle_beside_safetensors(made: Made) -> None:
    torch.save(Payload(made.canary), made.given / "pytorch_model.bin")


@harmless
def code_beside_the_model(made: Made) -> None:
    for name in ("modeling_bert.py", "sitecustomize.py", "torch.py", "conftest.py"):
        (made.given / name).write_text(f"open({str(made.canary)!r}, 'w')\n")


@harmless
def another_tokenizer_class(made: Made) -> None:
    edit(made.given, "tokenizer_config.json", tokenizer_class="OwnTokenizer")
