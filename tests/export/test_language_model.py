"""tf_ls.export.save of a decoder-only model, loaded again."""

import threading
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from small_decoder import EOS, HIDDEN, START, VOCABULARY, build, continuations

import tf_ls.inference as lsi
from tf_ls import export, ops

OPTIONS = {"eos": EOS, "beam_size": 3, "num_hypotheses": 3, "max_length": 9}
PROMPTS = [[1, 3], [], [5, 5, 4, 5], [9]]


def padded(prompts):
    rows = [[*prompt, *[EOS] * (5 - len(prompt))] for prompt in prompts]
    return tf.constant(rows, tf.int64)


def assert_continues(outputs, wanted):
    lengths = outputs["lengths"].numpy()
    assert outputs["tokens"].shape[2] == lengths.max()
    for i, (hypotheses, _, scores) in enumerate(wanted):
        assert lengths[i].tolist() == [len(tokens) for tokens in hypotheses]
        for j, tokens in enumerate(hypotheses):
            row = outputs["tokens"].numpy()[i, j].tolist()
            assert row == tokens + [EOS] * (len(row) - len(tokens))
        np.testing.assert_allclose(outputs["scores"][i], scores, rtol=1e-5)


@pytest.fixture(scope="module")
def decoder():
    return build()


@pytest.fixture(scope="module")
def path(decoder, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("model") / "exported")
    export.save(decoder, path, options=OPTIONS, start=START)
    return path


@pytest.fixture(scope="module")
def signatures(path):
    model = tf.saved_model.load(path)
    yield model.signatures
    del model


def with_options(signatures, **options):
    values = dict(signatures["default_options"]())
    for name, value in options.items():
        values[name] = tf.constant(value, values[name].dtype)
    return values


# int8 ------------------------------------------------------------------------------------------


def test_int8(decoder, tmp_path):
    export.save(decoder, tmp_path / "int8", options=OPTIONS, start=START, precision="int8")
    signatures = tf.saved_model.load(str(tmp_path / "int8")).signatures
    properties = signatures["properties"]()
    names = [name.decode() for name in properties["matrices"].numpy()]
    assert {"embeddings", "decoder layer 1 ffn dense2"} <= set(names)
    assert properties["matrices_in_int8"].numpy().all()
    outputs = signatures["serving_default"](prompt=padded(PROMPTS))
    wanted = [scores[0] for _, _, scores in continuations(decoder, OPTIONS, PROMPTS)]
    np.testing.assert_allclose(outputs["scores"][:, 0], wanted, atol=0.1)
    assert (outputs["scores"][:, 0].numpy() != wanted).any()


def test_no_calibration(decoder, tmp_path):
    options = {"precision": "int8", "calibration": [[1, 2]], "options": OPTIONS, "start": START}
    with pytest.raises(ValueError, match="calibration is for models that translate"):
        export.save(decoder, tmp_path / "int8", **options)


# Ids ---------------------------------------------------------------------------------------------


def test_what_comes_behind_prompts(decoder, signatures):
    outputs = signatures["serving_default"](prompt=padded(PROMPTS))
    assert_continues(outputs, continuations(decoder, OPTIONS, PROMPTS))


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "greedy", "num_hypotheses": 1},
        {"max_length": 4},  # which a prompt has already
        {"max_extra_length": 2},  # behind each prompt's own end
        {"beam_size": 20, "num_hypotheses": 20, "max_length": 5},  # more than there are
    ],
    ids=str,
)
def test_options(decoder, signatures, changes):
    options = with_options(signatures, **changes)
    outputs = signatures["serving_with_options"](prompt=padded(PROMPTS), **options)
    assert_continues(outputs, continuations(decoder, {**OPTIONS, **changes}, PROMPTS))
    if "max_extra_length" in changes:
        assert outputs["lengths"].numpy().max() == 2


def test_no_prompts_at_all(signatures):
    for shape in ([0, 0], [0, 3]):
        outputs = signatures["serving_default"](prompt=tf.zeros(shape, tf.int64))
        assert outputs["tokens"].shape == (0, 3, 0)
        assert outputs["lengths"].shape == (0, 3)


def test_properties(signatures):
    properties = {k: v.numpy() for k, v in signatures["properties"]().items()}
    assert properties == {
        "vocabulary": VOCABULARY,
        "padding_id": EOS,
        "start": START,
        "eos": EOS,
    }


def test_bad_prompts(signatures):
    def refused(match, prompt):
        with pytest.raises(tf.errors.InvalidArgumentError, match=match):
            signatures["serving_default"](prompt=tf.constant(prompt, tf.int64))

    refused("prefix must be from 0 to 10 in a vocabulary of 11, got 11", [[11]])
    refused(r"prefix 0 must not contain eos \(2\), got it at 1", [[1, EOS, 3]])
    refused("prefix 0 must have at most 9 tokens", [[1] * 10])


def test_without_a_start_token(decoder, tmp_path):
    """Prompts begin with it, and lengths count it."""
    changes = {"max_length": 10, "min_length": 7}
    export.save(decoder, tmp_path / "model", options={**OPTIONS, **changes})
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    assert signatures["properties"]()["start"] == -1
    outputs = signatures["serving_default"](prompt=padded([[START, *p] for p in PROMPTS[:2]]))
    options = {**OPTIONS, "max_length": 9, "min_length": 6}
    assert_continues(outputs, continuations(decoder, options, PROMPTS[:2]))
    for prompt in (padded([[1], []]), tf.zeros([2, 0], tf.int64)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="a prompt must have a token"):
            signatures["serving_default"](prompt=prompt)
    assert signatures["serving_default"](prompt=tf.zeros([0, 0], tf.int64))["lengths"].shape[0] == 0


# Scores of given texts ---------------------------------------------------------------------------

TEXTS = [[1, 3, EOS, 4], [5], []]


def forced_log_probs(decoder, texts, start):
    """What `ops.generate` says of tokens that it is forced to choose, of which none is EOS."""
    rows = tf.ragged.constant(texts, dtype=tf.int64)
    options = ops.SearchOptions(eos=VOCABULARY - 1, method="greedy", max_length=rows.shape[1] or 4)
    found = ops.generate(decoder, None, None, tf.fill([len(texts)], start), options, prefix=rows)
    return found.log_probs.numpy()[:, 0, :4] * tf.sequence_mask(rows.row_lengths(), 4).numpy()


def score(signatures, texts):
    lengths = tf.constant([*map(len, texts)], tf.int64)
    return signatures["score"](ids=padded(texts)[:, :4], lengths=lengths)["log_probs"].numpy()


def test_scores(decoder, signatures):
    wanted = forced_log_probs(decoder, TEXTS, START)
    np.testing.assert_allclose(score(signatures, TEXTS), wanted, rtol=1e-5)


def test_scores_without_a_start_token(decoder, tmp_path):
    export.save(decoder, tmp_path / "model", options=OPTIONS)
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    scores = score(signatures, [[START, 1, 3, EOS], [START, 5], [START], []])
    assert (scores[:, 0] == 0).all()
    wanted = forced_log_probs(decoder, [[1, 3, EOS], [5], [], []], START)
    np.testing.assert_allclose(scores[:, 1:], wanted[:, :3], rtol=1e-5)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int8_bfloat16"])
def test_scores_in_less_than_float32(decoder, tmp_path, precision):
    export.save(decoder, tmp_path / "model", options=OPTIONS, start=START, precision=precision)
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    wanted = forced_log_probs(decoder, TEXTS, START)
    np.testing.assert_allclose(score(signatures, TEXTS), wanted, atol=0.1)


# Less than float32 -------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision(tmp_path, precision, decoder):
    export.save(decoder, tmp_path / "half", options=OPTIONS, start=START, precision=precision)
    half = tf.saved_model.load(str(tmp_path / "half"))
    assert {v.dtype.name for v in half._weights} == {precision}
    outputs = half.signatures["serving_default"](prompt=padded(PROMPTS))
    best = [scores[0] for *_, scores in continuations(decoder, OPTIONS, PROMPTS)]
    np.testing.assert_allclose(outputs["scores"][:, 0], best, rtol=0.05)


def test_streamed_tokens_are_those_of_the_answer(signatures):
    options = with_options(signatures, method="sampling", num_hypotheses=2, top_k=5)
    wanted = signatures["serving_with_options"](prompt=padded(PROMPTS), **options)
    read, result = {}, []

    def generate():
        inputs = {"prompt": padded(PROMPTS), "stream": stream.number}
        result.append(signatures["stream"](**inputs, **options))

    with ops.TokenStream() as stream:
        thread = threading.Thread(target=generate)
        thread.start()
        while (tokens := stream.read()) is not None:
            for sentence, sample, token, _, _ in zip(*tokens):
                read.setdefault((sentence, sample), []).append(token)
        thread.join()
    for name, value in wanted.items():
        np.testing.assert_array_equal(result[0][name], value)
    assert len(read) == 2 * len(PROMPTS)
    for (i, j), tokens in read.items():
        length = wanted["lengths"].numpy()[i, j]
        assert tokens == (wanted["tokens"].numpy()[i, j, :length].tolist() or [-1])


# Text --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A model of pieces: its decoder, its signatures, SentencePiece itself."""
    folder = tmp_path_factory.mktemp("text")
    corpus = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(folder / "pieces"),
        vocab_size=400,
        byte_fallback=True,
        minloglevel=2,
    )
    decoder = build(vocabulary=400)
    options = {**OPTIONS, "max_length": 40, "max_extra_length": 12}
    pieces = folder / "pieces.model"
    export.save(decoder, folder / "exported", options=options, start=1, sentencepiece=pieces)
    model = tf.saved_model.load(str(folder / "exported"))
    processor = sentencepiece.SentencePieceProcessor(str(pieces))
    yield decoder, model.signatures, processor, options
    del model


def test_text_to_text(text):
    decoder, signatures, processor, options = text
    prompts = ["The host's half", "", "a weig", "naïve 語"]
    outputs = signatures["generate"](prompts=tf.constant(prompts))
    ids = [processor.encode(prompt) for prompt in prompts]
    wanted = continuations(decoder, options, ids, start=1)
    for i, (hypotheses, _, scores) in enumerate(wanted):
        best = [token for token in hypotheses[0] if token != EOS]
        whole = processor.decode(ids[i] + best)
        assert whole.startswith(prompts[i])
        assert outputs["continuations"][i].numpy().decode() == whole[len(prompts[i]) :]
        np.testing.assert_allclose(outputs["scores"][i], scores[0], rtol=1e-5)
    values = with_options(signatures, max_extra_length=0)
    # (A hypothesis has one token at least, be it the prompt's.)
    nothing = signatures["generate_with_options"](prompts=tf.constant(prompts[2:]), **values)
    assert nothing["continuations"].numpy().tolist() == [b"", b""]
    encoded = signatures["encode"](prompts=tf.constant(prompts))["prompt"].numpy()
    for row, tokens in zip(encoded, ids):
        assert row.tolist() == tokens + [EOS] * (len(row) - len(tokens))


# What cannot be exported -------------------------------------------------------------------------


def test_positions_bound_the_length(tmp_path):
    decoder = build(positions=np.random.default_rng(1).normal(size=(8, HIDDEN)))
    export.save(decoder, tmp_path / "model", options={"eos": EOS}, start=START)
    signatures = tf.saved_model.load(str(tmp_path / "model")).signatures
    assert signatures["default_options"]()["max_length"] == 8
    assert signatures["serving_default"](prompt=padded(PROMPTS))["tokens"].shape[0] == 4
    for options in ({"eos": EOS, "max_length": 9}, ops.SearchOptions(eos=EOS)):
        with pytest.raises(ValueError, match="max_length must be at most 8, as many positions"):
            export.save(decoder, tmp_path / "other", options=options, start=START)


def test_what_is_refused(tmp_path, decoder):
    def refused(match, model=decoder, **more):
        with pytest.raises(ValueError, match=match):
            export.save(model, tmp_path / "refused", **{"options": OPTIONS, "start": START, **more})

    refused("start must be in the vocabulary of 11, got 11", start=11)
    refused("eos must be in the vocabulary of 11, got 12", options={"eos": 12})
    refused("options must have eos", options={})
    refused("unknown option beams", options={"eos": 1, "beams": 2})
    refused(r"12 weights each; got \[20\]", build(memory_size=5))
    refused("no portable form of a model that does not translate", portable=True)
    refused("one SentencePiece model, got two", sentencepiece=("a", "b"))
    assert not (tmp_path / "refused").exists()


def test_a_translator_refuses_it(path):
    with pytest.raises(lsi.UnfitModel, match="continues prompts: a model that translates was exp"):
        lsi.Transformer(path, 1)
