"""Decoding with the key/value cache gives the scores that a pass over the whole text gives."""

import pytest
import torch

from llm.model.config import DecoderConfig, EncoderDecoderConfig
from llm.model.decoder import DecoderModel
from llm.model.encoder_decoder import EncoderDecoderModel

VOCABULARY, PAD, START = 19, 0, 0
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
# Lengths of the texts in a batch: the second one has padding.
TEXTS = {"unpadded": [6, 6, 6, 6], "padded": [6, 1, 4, 3]}
# How many tokens each call appends to the cache.
CALLS = {"one by one": [1] * 6, "a prompt, then one by one": [3, 1, 1, 1], "in pieces": [2, 3, 1]}

each_precision = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
each_padding = pytest.mark.parametrize("lengths", TEXTS.values(), ids=TEXTS)
each_rhythm = pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Models of this size are far slower on several threads than on one, above all when tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def decoder(dtype, *, kv_heads=2):
    torch.manual_seed(1)
    sizes = DecoderConfig(width=32, heads=4, kv_heads=kv_heads, layers=3, feed_forward=48, max_positions=16)
    return lively(DecoderModel(sizes, VOCABULARY), dtype)


def translator(dtype):
    torch.manual_seed(2)
    sizes = EncoderDecoderConfig(
        width=32, heads=4, encoder_layers=2, decoder_layers=3, feed_forward=48, max_positions=16
    )
    return lively(EncoderDecoderModel(sizes, VOCABULARY), dtype)


def lively(model, dtype):
    """Drawn biases and norms too: a fresh model's zeros and ones would hide what uses them wrongly."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(mean=float(parameter.dim() == 1), std=0.2)
    return model.to(dtype).eval()


def ids(rows, length, *, seed):
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def left_padded(lengths, *, seed):
    """Ids and mask (B, longest), the padding on the left."""
    longest = max(lengths)
    mask = torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]
    return ids(len(lengths), longest, seed=seed).masked_fill(~mask, PAD), mask


def right_padded(lengths, *, seed):
    """Ids and mask (B, longest), the padding on the right."""
    longest = max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return ids(len(lengths), longest, seed=seed).masked_fill(~mask, PAD), mask


def assert_close(found, expected):
    tolerance = TOLERANCE[expected.dtype]
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@torch.inference_mode()
@each_precision
@each_padding
@each_rhythm
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_cached_decoder_scores_as_an_uncached_one(dtype, lengths, calls, kv_heads):
    model = decoder(dtype, kv_heads=kv_heads)
    tokens, mask = left_padded(lengths, seed=3)
    mask = None if mask.all() else mask
    expected = model(tokens, mask=mask)
    cache = model.new_cache(len(lengths), 6)
    found = []
    for piece in tokens.split(calls, dim=1):
        seen = cache.length + piece.shape[1]
        found.append(model(piece, mask=None if mask is None else mask[:, :seen], cache=cache))
    assert cache.length == 6
    real = slice(None) if mask is None else mask
    assert_close(torch.cat(found, dim=1)[real], expected[real])


@torch.inference_mode()
@each_precision
def test_left_padding_changes_no_score_of_a_decoder(dtype):
    model = decoder(dtype)
    tokens, mask = left_padded(TEXTS["padded"], seed=3)
    together = model(tokens, mask=mask)
    for row, length in enumerate(TEXTS["padded"]):
        alone = model(tokens[row : row + 1, 6 - length :])
        assert_close(together[row, 6 - length :], alone[0])


@torch.inference_mode()
@each_precision
@each_padding
@each_rhythm
def test_a_cached_translator_scores_as_an_uncached_one(dtype, lengths, calls):
    model = translator(dtype)
    source, mask = right_padded(lengths, seed=4)
    mask = None if mask.all() else mask
    target = ids(len(lengths), 6, seed=5)
    expected = model(source, target, source_mask=mask)
    memory = model.encode(source, mask=mask)
    cache = model.new_cache(len(lengths), 6)
    found = [model.decode(piece, memory=memory, memory_mask=mask, cache=cache) for piece in target.split(calls, dim=1)]
    assert cache.length == 6
    assert_close(torch.cat(found, dim=1), expected)


@torch.inference_mode()
@each_precision
def test_source_padding_changes_no_score_of_a_translator(dtype):
    model = translator(dtype)
    source, mask = right_padded(TEXTS["padded"], seed=4)
    target = ids(4, 6, seed=5)
    together = model(source, target, source_mask=mask)
    for row, length in enumerate(TEXTS["padded"]):
        assert_close(together[row], model(source[row : row + 1, :length], target[row : row + 1])[0])


@torch.inference_mode()
@each_precision
def test_last_only_scores_are_the_last_of_all_scores(dtype):
    model, tokens = decoder(dtype), ids(3, 6, seed=6)
    assert_close(model(tokens, last_only=True), model(tokens)[:, -1:])
    model = translator(dtype)
    memory = model.encode(tokens)
    assert_close(model.decode(tokens, memory=memory, last_only=True), model.decode(tokens, memory=memory)[:, -1:])
