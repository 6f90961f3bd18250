"""CTranslate2 over converted files writes what torch writes with the same weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from saved_models import Saved

from llm.decoding.config import SearchConfig
from llm.engines.base import Engine, load_engine
from llm.engines.config import EngineName
from llm.errors import ConfigError, InputError, ModelFolderError
from llm.model.config import EncoderConfig
from llm.model.encoder import EncoderClassifier

NEW = 12


def engine(saved: Saved, name: EngineName) -> Engine:
    return load_engine(name, folder=saved.folder, model=saved.model, tokenizer=saved.tokenizer)


def same(one: list[list[int]], other: list[list[int]]) -> float:
    assert len(one) == len(other)
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def test_greedy_search_in_float32_writes_the_tokens_of_torch(saved: Saved) -> None:
    config = SearchConfig(max_new_tokens=NEW)
    expected = engine(saved, "torch").write(saved.inputs, config)
    assert engine(saved, "ctranslate2-float32").write(saved.inputs, config) == expected
    assert len({len(text) for text in expected}) > 1  # some end, some are cut
    assert len({tuple(text) for text in expected}) > 20


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_beam_search_in_float32_nearly_always_writes_the_tokens_of_torch(saved: Saved, length_penalty: float) -> None:
    config = SearchConfig(max_new_tokens=NEW, num_beams=4, length_penalty=length_penalty)
    expected = engine(saved, "torch").write(saved.inputs, config)
    assert same(engine(saved, "ctranslate2-float32").write(saved.inputs, config), expected) >= 0.95


def test_a_source_without_text_is_answered_with_none(encoder_decoder: Saved) -> None:
    # CTranslate2 does not ask the model; ours does, and it may say anything.
    assert engine(encoder_decoder, "ctranslate2-float32").write([[2]], SearchConfig(max_new_tokens=4)) == [[]]


def test_the_length_penalty_changes_what_beam_search_writes(saved: Saved) -> None:
    subject = engine(saved, "ctranslate2-float32")
    texts = {
        penalty: subject.write(saved.inputs, SearchConfig(max_new_tokens=NEW, num_beams=4, length_penalty=penalty))
        for penalty in (-2.0, 3.0)
    }
    lengths = {penalty: sum(map(len, found)) for penalty, found in texts.items()}
    assert lengths[-2.0] < lengths[3.0]


@pytest.mark.parametrize("name", ["ctranslate2-int8", "torch-float16", "torch-bfloat16"])
def test_rounded_weights_mostly_agree_on_the_first_two_tokens(saved: Saved, name: EngineName) -> None:
    config = SearchConfig(max_new_tokens=2)
    expected = engine(saved, "torch").write(saved.inputs, config)
    assert same(engine(saved, name).write(saved.inputs, config), expected) >= 0.8


def test_bfloat16_rounds_the_products_and_torch_does_not(saved: Saved) -> None:
    config = SearchConfig(max_new_tokens=NEW, num_beams=3)
    texts = [engine(saved, name).write(saved.inputs, config) for name in ("torch", "torch-bfloat16", "torch-bfloat16")]
    assert texts[1] == texts[2]
    assert texts[0] != texts[1]


def test_a_text_does_not_depend_on_its_batch_or_on_the_number_of_workers(saved: Saved) -> None:
    config = SearchConfig(max_new_tokens=NEW)
    together = engine(saved, "ctranslate2-float32").write(saved.inputs, config)
    torch.set_num_threads(2)
    subject = engine(saved, "ctranslate2-float32")
    assert subject.write(saved.inputs, config) == together
    assert [subject.write([ids], config)[0] for ids in saved.inputs[:10]] == together[:10]
    assert subject.write([], config) == []


def first_tokens(subject: Engine, prompt: list[int], **options: Any) -> torch.Tensor:
    """How often each token comes first, (V,)."""
    config = SearchConfig(max_new_tokens=1, **options)
    texts = subject.write([prompt] * 4000, config)
    return torch.bincount(torch.tensor([text[0] if text else 2 for text in texts]), minlength=260)


@pytest.mark.parametrize(
    "options", [{"temperature": 0.5}, {"temperature": 2.0, "top_k": 5}, {"temperature": 2.0, "top_p": 0.5}]
)
def test_sampling_draws_from_the_distribution_of_torch(saved: Saved, options: dict[str, Any]) -> None:
    expected, found = (
        first_tokens(engine(saved, name), saved.inputs[7], **options) for name in ("torch", "ctranslate2-float32")
    )
    assert int((expected > 0).sum()) > 1
    # Total variation; two samples of 4,000 from one distribution over these few tokens differ by less.
    assert 0.5 * (expected - found).abs().sum() / 4000 < 0.08


def test_a_seed_repeats_the_sampled_texts_and_another_gives_others(saved: Saved) -> None:
    subject = engine(saved, "ctranslate2-float32")
    texts = [
        subject.write(saved.inputs, SearchConfig(max_new_tokens=NEW, temperature=2.0, seed=seed)) for seed in (5, 5, 6)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_seed_that_ctranslate2_cannot_take_is_refused(saved: Saved) -> None:
    config = SearchConfig(max_new_tokens=NEW, temperature=1.0, seed=1 << 32)
    with pytest.raises(InputError, match=r"seed = 4294967296, but CTranslate2 takes seeds below 4294967296"):
        engine(saved, "ctranslate2-float32").write(saved.inputs, config)


@pytest.mark.parametrize("name", ["torch", "ctranslate2-float32"])
def test_both_engines_refuse_what_does_not_fit_in_the_same_words(saved: Saved, name: EngineName) -> None:
    with pytest.raises(InputError, match=r"max_new_tokens = 60"):
        engine(saved, name).write(saved.inputs, SearchConfig(max_new_tokens=60))


def test_the_converted_files_are_kept_and_read_again(saved: Saved) -> None:
    engine(saved, "ctranslate2-int8")
    folder = saved.folder / "ctranslate2" / "int8"
    assert {path.suffix for path in folder.iterdir()} == {".json", ".bin"}
    before = (folder / "model.bin").stat().st_mtime_ns
    engine(saved, "ctranslate2-int8")
    assert (folder / "model.bin").stat().st_mtime_ns == before
    assert [path.name for path in folder.parent.iterdir()] == ["int8"]


def test_int8_files_are_about_a_quarter_of_float32_ones(decoder: Saved) -> None:
    sizes = []
    for name in ("int8", "float32"):
        load_engine(f"ctranslate2-{name}", folder=decoder.folder, model=decoder.model, tokenizer=decoder.tokenizer)  # type: ignore[arg-type]
        sizes.append((decoder.folder / "ctranslate2" / name / "model.bin").stat().st_size)
    assert sizes[0] < 0.45 * sizes[1]


def test_files_of_other_weights_are_refused(decoder: Saved) -> None:
    engine(decoder, "ctranslate2-int8")
    weights = decoder.folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(ModelFolderError, match="made of other weights") as caught:
        engine(decoder, "ctranslate2-int8")
    assert caught.value.remedy == "delete it: it will be made anew"


def test_a_conversion_that_fails_leaves_nothing_behind(decoder: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("llm.engines.ctranslate2_folder.write_json", full)
    with pytest.raises(ModelFolderError, match="cannot be written"):
        engine(decoder, "ctranslate2-int8")
    assert list((decoder.folder / "ctranslate2").iterdir()) == []


def test_a_missing_package_is_named_with_the_remedy(decoder: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(ConfigError, match="ctranslate2, which is not installed") as caught:
        engine(decoder, "ctranslate2-int8")
    assert caught.value.remedy.startswith("pip install ctranslate2")
    assert engine(decoder, "torch").write(decoder.inputs[:1], SearchConfig(max_new_tokens=1))


def test_a_classifier_runs_on_torch_alone(tmp_path: Path, decoder: Saved) -> None:
    sizes = EncoderConfig(width=16, heads=2, layers=1, feed_forward=16, max_positions=16)
    model = EncoderClassifier(sizes, 260, labels=["a", "b"])
    load_engine("torch", folder=tmp_path, model=model, tokenizer=decoder.tokenizer)
    with pytest.raises(ConfigError, match="a EncoderClassifier cannot run on ctranslate2-int8") as caught:
        load_engine("ctranslate2-int8", folder=tmp_path, model=model, tokenizer=decoder.tokenizer)
    assert caught.value.remedy == "use the engine torch"


@pytest.mark.parametrize("options", [{}, {"temperature": 0.8}, {"num_beams": 4}], ids=str)
def test_the_number_of_threads_changes_no_text(saved: Saved, options: dict[str, Any]) -> None:
    config = SearchConfig(max_new_tokens=NEW, **options)
    subject = engine(saved, "torch")
    expected = subject.write(saved.inputs, config)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert subject.write(saved.inputs, config) == expected
        assert torch.get_num_threads() == 2
        with pytest.raises(InputError):
            subject.write([[5] * 100] * 200, config)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
