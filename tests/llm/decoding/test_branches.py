"""Rows that branch, move, end and merge over many steps read what they would read if each were computed alone."""

from __future__ import annotations

import pytest
import torch

from llm.decoding.branches import BranchingCache
from llm.decoding.single_token import DecoderStep, EncoderDecoderStep
from llm.decoding.steps import DecoderOnlySteps, EncoderDecoderSteps

PAD, START = 0, 0
STEPS = 30  # enough for unreachable entries to be given up, and for more room to be needed
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
# Llama's norm takes its statistics in float32 whatever the precision; the step's does not.
NORM_PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-5)], ids=str
)
# For each step which rows go on: the beams of three texts, then of two of them in another order, then rows alone.
BEAMS = 4


def rows_of(step: int, generator: torch.Generator) -> list[int]:
    """Rows that go on after `step` steps: beams choose among their text's, whole texts leave or change places."""
    if step == 0:
        return [text for text in range(3) for _ in range(BEAMS)]
    texts = 3 if step < 18 else 2
    order = [2, 0] if step == 18 else range(texts)
    return [text * BEAMS + int(torch.randint(BEAMS, (1,), generator=generator)) for text in order for _ in range(BEAMS)]


@torch.inference_mode()
@NORM_PRECISIONS
@pytest.mark.parametrize("prompts", [[[5, 6, 7, 8], [9], [3, 4]], [[5, 6], [7, 8], [9, 3]]], ids=["padded", "even"])
def test_beams_of_prompts_score_as_texts_read_alone(make_decoder, prompts, dtype, tolerance):
    model = make_decoder(seed=2).to(dtype)
    steps, texts = DecoderOnlySteps(model, prompts, pad_id=PAD), prompts
    generator = torch.Generator().manual_seed(1)
    torch.testing.assert_close(
        steps.start(STEPS),
        torch.stack([model(torch.tensor([text]))[0, -1] for text in texts]),
        rtol=tolerance,
        atol=tolerance,
    )
    for step in range(STEPS):
        rows = rows_of(step, generator)
        steps.reorder(torch.tensor(rows))
        new = torch.randint(3, 13, (len(rows), 1), generator=generator)
        texts = [[*texts[row], int(id_)] for row, id_ in zip(rows, new, strict=True)]
        found = steps.advance(new)
        expected = torch.stack([model(torch.tensor([text]))[0, -1] for text in texts])
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@torch.inference_mode()
@PRECISIONS
def test_beams_of_sources_score_as_texts_read_alone(make_translator, dtype, tolerance):
    model = make_translator(seed=3).to(dtype)
    sources = [[5, 6, 7], [8, 9], [4]]
    padded = torch.tensor([source + [PAD] * (3 - len(source)) for source in sources])
    steps = EncoderDecoderSteps(model, padded, padded != PAD, start_id=START)
    generator = torch.Generator().manual_seed(2)
    steps.start(STEPS + 1)
    texts = [(source, [START]) for source in sources]
    for step in range(STEPS):
        rows = rows_of(step, generator)
        steps.reorder(torch.tensor(rows))
        new = torch.randint(3, 13, (len(rows), 1), generator=generator)
        texts = [(texts[row][0], [*texts[row][1], int(id_)]) for row, id_ in zip(rows, new, strict=True)]
        found = steps.advance(new)
        expected = torch.stack([model(torch.tensor([source]), torch.tensor([text]))[0, -1] for source, text in texts])
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def cache_with_common_ancestors() -> BranchingCache:
    """Two rows of one text that always go on from the first of them."""
    cache = BranchingCache(layers=1, texts=1, kv_heads=1, room=2, head_width=1, like=torch.zeros(()))
    cache.read(None, length=1)
    for _ in range(40):
        cache.reorder(torch.zeros(2, dtype=torch.int64))
        cache.step()
    return cache


def test_entries_that_no_row_leads_to_do_not_pile_up():
    cache = cache_with_common_ancestors()
    # The prompt and a token a step, and the second rows of the last few steps.
    assert 41 <= cache.used <= 41 + 2 * 8
    mask = cache.mask(queries=1)
    assert mask is not None
    assert (mask == 0).sum(dim=-1).flatten().tolist() == [41, 41]


def test_rows_of_one_text_each_that_see_everything_need_no_mask():
    cache = BranchingCache(layers=1, texts=3, kv_heads=1, room=4, head_width=1, like=torch.zeros(()))
    cache.read(None, length=2)
    cache.step()
    assert cache.mask(queries=1) is None
    cache.reorder(torch.tensor([2, 0]))
    assert cache.mask(queries=1) is None
    assert cache.texts == 2


@torch.inference_mode()
@pytest.mark.parametrize(
    "rows", [[3, 1, 0, 2], [2, 0], [1, 1, 3, 3], [2], [0, 0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 2]], ids=str
)
def test_any_choice_of_rows_goes_on_with_its_own_text(make_decoder, make_translator, rows):
    prompts = [[5, 6, 7, 8], [9], [3, 4], [11, 12, 3]]
    decoder, translator = make_decoder(seed=4), make_translator(seed=5)
    ids = torch.arange(3, 3 + len(rows))
    cache = DecoderStep(decoder).new_cache(4, room=6)
    padded = torch.tensor([[PAD] * (4 - len(prompt)) + prompt for prompt in prompts])
    step = DecoderStep(decoder)
    step.read(padded, mask=padded != PAD, cache=cache)
    cache.reorder(torch.tensor(rows))
    positions = torch.tensor([len(prompts[row]) for row in rows])
    found = step(ids, positions=positions, cache=cache)
    for number, row in enumerate(rows):
        alone = decoder(torch.tensor([[*prompts[row], int(ids[number])]]))[0, -1]
        torch.testing.assert_close(found[number], alone, rtol=1e-5, atol=1e-5)
    sources = torch.tensor([[5, 6], [7, 8], [9, 10], [3, 4]])
    writing = EncoderDecoderStep(translator)
    memory_cache = writing.read(translator.encode(sources), max_new_tokens=3)
    writing(torch.full((4,), START), position=0, memory_mask=None, cache=memory_cache)
    memory_cache.reorder(torch.tensor(rows))
    found = writing(ids, position=1, memory_mask=None, cache=memory_cache)
    for number, row in enumerate(rows):
        alone = translator(sources[row : row + 1], torch.tensor([[START, int(ids[number])]]))[0, -1]
        torch.testing.assert_close(found[number], alone, rtol=1e-5, atol=1e-5)
