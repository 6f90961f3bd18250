"""Steps over real models: padding, reordering, and what they refuse."""

import pytest
import torch

from llm.decoding.config import SearchConfig
from llm.decoding.search import search
from llm.decoding.steps import DecoderOnlySteps, EncoderDecoderSteps
from llm.errors import InputError

PAD, EOS, START = 0, 2, 0


@torch.inference_mode()
def test_left_padding_changes_no_score(make_decoder):
    model = make_decoder(seed=1)
    prompts = [[5, 6, 7, 8], [9], [3, 4]]
    together = DecoderOnlySteps(model, prompts, pad_id=PAD)
    scores = [together.start(3), together.advance(torch.tensor([[4], [5], [6]]))]
    for row, prompt in enumerate(prompts):
        alone = DecoderOnlySteps(model, [prompt], pad_id=PAD)
        torch.testing.assert_close(scores[0][row], alone.start(3)[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(scores[1][row], alone.advance(torch.tensor([[4 + row]]))[0], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_reordered_rows_continue_their_own_prompt(make_decoder):
    model = make_decoder(seed=2)
    prompts = [[5, 6, 7, 8], [9], [3, 4]]
    steps = DecoderOnlySteps(model, prompts, pad_id=PAD)
    steps.start(4)
    steps.reorder(torch.tensor([2, 1, 1, 2]))
    scores = steps.advance(torch.tensor([[3], [4], [5], [6]]))
    for row, text in enumerate([[3, 4, 3], [9, 4], [9, 5], [3, 4, 6]]):
        torch.testing.assert_close(scores[row], model(torch.tensor([text]))[0, -1], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_reordered_rows_continue_their_own_source(make_translator):
    model = make_translator(seed=3)
    source = torch.tensor([[5, 6, 7], [8, 9, PAD], [4, PAD, PAD]])
    steps = EncoderDecoderSteps(model, source, source != PAD, start_id=START)
    steps.start(4)
    steps.reorder(torch.tensor([2, 1, 1, 0]))
    scores = steps.advance(torch.tensor([[3], [4], [5], [6]]))
    for row, (text, id_) in enumerate([([4], 3), ([8, 9], 4), ([8, 9], 5), ([5, 6, 7], 6)]):
        alone = model(torch.tensor([text]), torch.tensor([[START, id_]]))[0, -1]
        torch.testing.assert_close(scores[row], alone, rtol=1e-5, atol=1e-5)


def test_a_prompt_and_new_tokens_beyond_the_positions_are_refused_with_both_numbers(make_decoder):
    model = make_decoder(seed=1)  # 48 positions
    steps = DecoderOnlySteps(model, [[5] * 40, [5]], pad_id=PAD)
    with pytest.raises(InputError) as refused:
        search(steps, SearchConfig(max_new_tokens=9), eos_id=EOS, pad_id=PAD)
    assert "a prompt of 40 tokens and max_new_tokens = 9 make 49" in refused.value.problem
    assert "at most 48 (max_positions)" in refused.value.problem
    assert refused.value.remedy == "set max_new_tokens to 8 or less, or shorten the prompt to 39 tokens or less"
    assert len(search(steps, SearchConfig(max_new_tokens=8), eos_id=EOS, pad_id=PAD)) == 2


@pytest.mark.parametrize(
    ("prompt", "new", "remedy"),
    [
        (60, 4, "shorten the prompt to 44 tokens or less"),
        (60, 70, "lower both"),
        (4, 70, "set max_new_tokens to 44 or less"),
    ],
)
def test_the_remedy_for_too_long_a_text_can_be_followed(make_decoder, prompt, new, remedy):
    steps = DecoderOnlySteps(make_decoder(seed=1), [[5] * prompt], pad_id=PAD)
    with pytest.raises(InputError) as refused:
        search(steps, SearchConfig(max_new_tokens=new), eos_id=EOS, pad_id=PAD)
    assert refused.value.remedy == remedy


def test_a_translation_may_fill_all_positions_but_not_one_more(make_translator):
    model = make_translator(seed=1)  # 48 positions
    steps = EncoderDecoderSteps(model, torch.tensor([[5, 6]]), None, start_id=START)
    with pytest.raises(InputError, match=r"max_new_tokens = 49, but the model writes at most 48 tokens"):
        search(steps, SearchConfig(max_new_tokens=49), eos_id=EOS, pad_id=PAD)
    # An id that the model cannot write never ends the text.
    [text] = search(steps, SearchConfig(max_new_tokens=48), eos_id=99, pad_id=PAD)
    assert len(text) == 48


def test_too_long_a_source_is_refused_with_both_numbers(make_translator):
    with pytest.raises(InputError, match=r"a source of 49 tokens, but the model reads at most 48"):
        EncoderDecoderSteps(make_translator(seed=1), torch.full((2, 49), 5), None, start_id=START)


def test_an_empty_prompt_is_refused_by_number(make_decoder):
    with pytest.raises(InputError, match=r"prompt 1 holds no token\n  remedy: begin it with the start token"):
        DecoderOnlySteps(make_decoder(seed=1), [[5], []], pad_id=PAD)


def test_a_model_in_training_mode_is_refused(make_decoder, make_translator):
    with pytest.raises(AssertionError, match="eval"):
        DecoderOnlySteps(make_decoder(seed=1).train(), [[5]], pad_id=PAD)
    with pytest.raises(AssertionError, match="eval"):
        EncoderDecoderSteps(make_translator(seed=1).train(), torch.tensor([[5]]), None, start_id=START)
