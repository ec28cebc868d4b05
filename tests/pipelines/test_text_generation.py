"""Continuations of prompts, against transformers' pipeline, and in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from same_answers import assert_same
from sample_sentences import SENTENCES

import tf_ls

TASK = "text-generation"
GREEDY = {"method": "greedy", "max_extra_length": 12}
PROMPTS = ["Mary Smith", "What a wonderful day in Paris,", "é", "東京"]


@pytest.fixture(scope="module")
def generate(language_model):
    return tf_ls.pipeline(TASK, language_model, options=GREEDY)


@pytest.mark.parametrize("full", [True, False])
def test_greedy_texts_are_those_of_transformers(language_model, original, full):
    ours = tf_ls.pipeline(TASK, language_model, options=GREEDY, return_full_text=full)
    theirs = original(TASK, language_model)

    def expected(text):
        return theirs(text, do_sample=False, max_new_tokens=12, return_full_text=full)

    assert_same(ours(PROMPTS[0]), expected(PROMPTS[0]))
    assert_same(ours(PROMPTS), [expected(text) for text in PROMPTS])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_pieces_of_a_stream_are_the_text_in_whole_characters(generate, prompt):
    pieces = list(generate.stream(prompt))
    assert len(pieces) > 1
    assert all(pieces)
    assert prompt + "".join(pieces) == generate(prompt)[0]["generated_text"]


def test_a_sample_streams_as_it_is_returned(language_model):
    options = {"method": "sampling", "seed": 3, "top_k": 20, "max_extra_length": 12}
    generate = tf_ls.pipeline(TASK, language_model, options=options)
    text = generate(PROMPTS[0])[0]["generated_text"]
    assert PROMPTS[0] + "".join(generate.stream(PROMPTS[0])) == text


def test_a_stream_may_be_left(generate):
    stream = generate.stream(PROMPTS[0])
    assert next(stream)
    stream.close()
    assert generate(PROMPTS[0])


def test_a_search_of_several_beams_has_nothing_to_stream(language_model):
    generate = tf_ls.pipeline(TASK, language_model, options={"method": "beam_search"})
    with pytest.raises(ValueError, match=r"beam of .* are not final"):
        generate.stream(PROMPTS[0])


def test_a_long_prompt_is_refused_or_loses_its_begin(language_model, generate):
    text = " ".join(SENTENCES)
    with pytest.raises(ValueError, match=r"takes 47.*long_inputs='truncate'"):
        generate(text)
    with pytest.raises(ValueError, match="takes 47"):
        generate.stream(text)
    short = tf_ls.pipeline(
        TASK, language_model, options=GREEDY, long_inputs="truncate", max_length=40
    )
    (row,) = short.preprocess(text).rows
    np.testing.assert_array_equal(row, short.preprocess.tokenizer.encode(text)[-40:])
    assert short(text)[0]["generated_text"].startswith(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"long_inputs": "split"}, "long_inputs must be one of error, truncate; got 'split'"),
        ({"stride": 3}, "does not split"),
        ({"options": {"beams": 3}}, "unknown option beams"),
    ],
)
def test_bad_options(language_model, options, message):
    with pytest.raises(ValueError, match=message):
        tf_ls.pipeline(TASK, language_model, **options)


def test_a_loaded_model_has_its_own_options(language_model, generate):
    model = tf_ls.inference.Gpt(language_model, 8, options=GREEDY)
    with pytest.raises(ValueError, match="tokenizer: name its folder"):
        tf_ls.pipeline(TASK, model)
    with pytest.raises(ValueError, match="options: a loaded model has its own"):
        tf_ls.pipeline(TASK, model, tokenizer=language_model, options=GREEDY)
    same = tf_ls.pipeline(TASK, model, tokenizer=language_model)
    assert same(PROMPTS) == generate(PROMPTS)


def test_an_exported_model_has_its_own_text(pieces, tmp_path):
    import tensorflow as tf
    from small_decoder import build

    path = tmp_path / "exported"
    options = {"eos": 2, "max_length": 60, **GREEDY}
    tf_ls.export.save(build(330), path, options=options, start=1, sentencepiece=pieces)
    model = tf.saved_model.load(str(path))
    outputs = model.signatures["generate"](prompts=tf.constant(PROMPTS))
    wanted = outputs["continuations"].numpy()
    generate = tf_ls.pipeline(TASK, path, return_full_text=False)
    assert generate(PROMPTS) == [[{"generated_text": text.decode()}] for text in wanted]
    for prompt, text in zip(PROMPTS, wanted):
        assert "".join(generate.stream(prompt)) == text.decode()
