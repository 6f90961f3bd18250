"""Greedy and beam search write the tokens that transformers' `generate` writes for the same weights."""

import pytest
import torch
from torch.nn import functional as F
from transformers import GenerationConfig

from llm.decoding.config import SearchConfig
from llm.decoding.search import search
from llm.decoding.steps import DecoderOnlySteps, EncoderDecoderSteps
from llm.model.config import EncoderDecoderConfig
from llm.model.encoder_decoder import EncoderDecoderModel

PAD, EOS, NEW = 0, 2, 14

SEARCHES = [
    SearchConfig(max_new_tokens=NEW),
    SearchConfig(max_new_tokens=1, num_beams=3),
    SearchConfig(max_new_tokens=NEW, num_beams=2),
    SearchConfig(max_new_tokens=NEW, num_beams=4),
    SearchConfig(max_new_tokens=NEW, num_beams=4, length_penalty=0.0),
    SearchConfig(max_new_tokens=NEW, num_beams=5, length_penalty=2.0),
    SearchConfig(max_new_tokens=NEW, num_beams=3, length_penalty=-1.0),
]


def names(config):
    return f"beams={config.num_beams},penalty={config.length_penalty:g},new={config.max_new_tokens}"


def generation_config(config, *, start_id=None):
    return GenerationConfig(
        do_sample=False,
        num_beams=config.num_beams,
        length_penalty=config.length_penalty,
        early_stopping=False,
        max_new_tokens=config.max_new_tokens,
        eos_token_id=EOS,
        pad_token_id=PAD,
        decoder_start_token_id=start_id,
    )


def until_the_end(rows):
    return [row[: row.index(EOS)] if EOS in row else row for row in rows.tolist()]


# A vocabulary smaller than the candidates (2 x beams) forces ties among impossible beams.
@pytest.mark.parametrize(("seed", "vocabulary"), [(1, 13), (2, 13), (3, 24), (4, 5)])
@pytest.mark.parametrize("config", SEARCHES, ids=names)
def test_continuations_of_padded_prompts_are_identical(make_decoder, make_twin, seed, vocabulary, config):
    model = make_decoder(seed=seed, vocabulary=vocabulary)
    generator = torch.Generator().manual_seed(seed)
    prompts = [
        torch.randint(3, vocabulary, (length,), generator=generator).tolist() for length in (3, 7, 1, 5, 6, 7, 2, 4)
    ]
    ids = torch.tensor([[PAD] * (7 - len(prompt)) + prompt for prompt in prompts])
    expected = make_twin(model).generate(
        input_ids=ids, attention_mask=(ids != PAD).long(), generation_config=generation_config(config)
    )[:, 7:]
    found = search(DecoderOnlySteps(model, prompts, pad_id=PAD), config, eos_id=EOS, pad_id=PAD)
    assert found == until_the_end(expected)


@pytest.mark.parametrize(("seed", "vocabulary"), [(1, 13), (2, 13), (3, 24), (4, 5)])
@pytest.mark.parametrize("config", SEARCHES, ids=names)
def test_translations_of_padded_sources_are_identical(make_translator, make_twin, seed, vocabulary, config):
    model = make_translator(seed=seed, vocabulary=vocabulary)
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(3, vocabulary, (8, 9), generator=generator)
    source[1, 5:] = source[3, 2:] = source[6, 8:] = PAD
    mask = source != PAD
    expected = make_twin(model).generate(
        input_ids=source, attention_mask=mask.long(), generation_config=generation_config(config, start_id=PAD)
    )[:, 1:]
    found = search(EncoderDecoderSteps(model, source, mask, start_id=PAD), config, eos_id=EOS, pad_id=PAD)
    assert found == until_the_end(expected)


def sorting_task(rows, *, generator):
    """Sources of 1 to 8 ids, padded to 8; targets are the same ids, largest first, then EOS, padded to 9."""
    source = torch.randint(3, 13, (rows, 8), generator=generator)
    lengths = torch.randint(1, 9, (rows, 1), generator=generator)
    source.masked_fill_(torch.arange(8) >= lengths, PAD)
    target = F.pad(source.sort(dim=1, descending=True).values, (0, 1), value=PAD)
    return source, target.scatter(1, lengths, EOS)


@pytest.fixture(scope="module")
def half_trained():
    """A translator that has begun to learn: unlike random weights, it ends texts of many lengths, and it has doubts."""
    sizes = EncoderDecoderConfig(
        width=32, heads=4, encoder_layers=2, decoder_layers=2, feed_forward=48, max_positions=48
    )
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = EncoderDecoderModel(sizes, 13)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        source, target = sorting_task(64, generator=generator)
        scores = model(source, F.pad(target[:, :-1], (1, 0), value=PAD), source_mask=source != PAD)
        optimizer.zero_grad()
        F.cross_entropy(scores.flatten(0, 1), target.flatten(), ignore_index=PAD).backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("config", SEARCHES, ids=names)
def test_translations_of_many_lengths_are_identical(half_trained, make_twin, config):
    source, _ = sorting_task(64, generator=torch.Generator().manual_seed(1))
    mask = source != PAD
    expected = make_twin(half_trained).generate(
        input_ids=source, attention_mask=mask.long(), generation_config=generation_config(config, start_id=PAD)
    )[:, 1:]
    found = search(EncoderDecoderSteps(half_trained, source, mask, start_id=PAD), config, eos_id=EOS, pad_id=PAD)
    assert found == until_the_end(expected)
    assert config.max_new_tokens == 1 or len({len(text) for text in found}) > 5
