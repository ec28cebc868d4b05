"""LSTransformer.generate against the reference of generation, which asks `call` for logits."""

import numpy as np
import pytest
import tensorflow as tf
from small_transformer import (
    INPUTS,
    ONE_TABLE,
    SETTINGS,
    SOURCE_LENGTHS,
    SOURCE_WORDS,
    TARGET_WORDS,
    build,
)

from tf_ls import ops
from tf_ls.models import LSTransformer
from tf_ls.testing.comparison import relative_error
from tf_ls.testing.reference_search import Options, score, search

START, EOS = 7, 2
LENGTHS = SOURCE_LENGTHS
SOURCE = INPUTS["src"]
BEAM = Options(eos=EOS, beam_size=3, num_hypotheses=3, max_length=7)


def expected(model, options, source=SOURCE, starts=(START, START, START, START)):
    """The reference's hypotheses of each sentence."""

    def of(row, start):
        sentence = row[row != 0]

        def logits(prefixes):
            inputs = np.array([[start, *prefix] for prefix in prefixes])
            # Told by their lengths: token 0 is padding of sources only.
            every = {
                "src": np.tile(sentence, [len(prefixes), 1]),
                "trg_input": inputs,
                "trg_length": np.full(len(inputs), inputs.shape[1]),
            }
            return np.array(model(every)[:, -1], np.float64)

        return search(logits, options, len(sentence))

    return [of(row, start) for row, start in zip(source, starts)]


def found(generated):
    """The tokens of each sentence's hypotheses."""
    return [
        [tuple(tokens[:length]) for tokens, length in zip(*sentence)]
        for sentence in zip(generated.tokens.numpy().tolist(), generated.lengths.numpy())
    ]


def tokens_of(hypotheses):
    return [[hypothesis.tokens for hypothesis in sentence] for sentence in hypotheses]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pre_layer_norm": False, "activation_fn": "gelu"},
        {"share_embedding_and_softmax_weights": False},
        ONE_TABLE,
    ],
    ids=["pre_norm", "post_norm", "softmax_linear", "one_table"],
)
def test_structures(changes):
    model = build(**changes)
    generated = model.generate(SOURCE, BEAM, START)
    hypotheses = expected(model, BEAM)
    assert found(generated) == tokens_of(hypotheses)
    scores = [[score(h, BEAM) for h in sentence] for sentence in hypotheses]
    assert relative_error(generated.scores, scores) < 1e-5


def test_each_sentence_has_its_start_and_prefix():
    model = build()
    starts, prefix = [7, 1, 5, 3], [[4, 6], [], [8], [9]]
    generated = model.generate(
        SOURCE, BEAM, tf.constant(starts), prefix=tf.ragged.constant(prefix, dtype=tf.int64)
    )
    for i, forced in enumerate(prefix):
        options = Options(**{**vars(BEAM), "prefix": tuple(forced)})
        hypotheses = expected(model, options, SOURCE[i : i + 1], starts[i : i + 1])
        assert found(generated)[i : i + 1] == tokens_of(hypotheses)


def test_padding_of_the_source_can_be_told_in_three_ways():
    model, unpadded = build(), build(padding_idx=None)
    wanted = found(model.generate(SOURCE, BEAM, START))
    for more in (
        {"src_length": np.array(LENGTHS)},
        {"src_padding": (SOURCE == 0).astype(np.float32)},
    ):
        assert found(unpadded.generate({"src": SOURCE, **more}, BEAM, START)) == wanted


def test_padding_may_be_anywhere():
    """It only moves the positions of the tokens behind it."""
    model = build()
    inputs = {"src": np.array([[0, 3, 0, 5, 6], [3, 4, 0, 0, 5]])}
    generated = model.generate(inputs, BEAM, START)
    for i, row in enumerate(generated.tokens[:, 0].numpy()):
        length = generated.lengths[i, 0].numpy()
        target = np.array([[START, *row[: length - 1]]])
        told = {"src": inputs["src"][i : i + 1], "trg_input": target, "trg_length": [length]}
        log_probs = tf.nn.log_softmax(model(told)[0])
        wanted = tf.gather(log_probs, row[:length], batch_dims=1)
        assert relative_error(generated.log_probs[i, 0, :length], wanted) < 1e-5


def test_attention_counts_tokens_of_the_source():
    generated = build().generate(SOURCE, BEAM, START, return_attention=True)
    attention = tf.reduce_sum(generated.attention, axis=[1, 2]).numpy()
    np.testing.assert_array_equal(attention > 0, np.arange(5) < np.array(LENGTHS)[:, None])


def test_a_function_sees_the_current_weights():
    model = build()
    function = tf.function(
        lambda source: model.generate(source, BEAM, START),
        input_signature=[tf.TensorSpec([None, None], tf.int64)],
    )
    before = found(function(SOURCE))
    assert before == tokens_of(expected(model, BEAM))
    rng = np.random.default_rng(5)
    model.set_weights([w + 0.3 * rng.normal(size=w.shape) for w in model.get_weights()])
    after = found(function(SOURCE))
    assert after == tokens_of(expected(model, BEAM))
    assert after != before
    assert function(SOURCE[:0]).tokens.shape[:2] == (0, 3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    """Scores of the same tokens are close."""
    exact = build()
    model = LSTransformer(**SETTINGS, dtype=policy)
    model.set_weights(exact.get_weights())
    forced = exact.generate(SOURCE, ops.SearchOptions(eos=EOS, max_length=5, min_length=5), START)
    options = ops.SearchOptions(eos=EOS, max_length=5)
    prefix = forced.tokens[:, 0, :4]
    half, single = (m.generate(SOURCE, options, START, prefix=prefix) for m in (model, exact))
    assert half.scores.dtype == tf.float32
    assert relative_error(half.log_probs[..., :4], single.log_probs[..., :4]) < 5e-2


def test_word_outside_the_vocabulary():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"vocabulary of 13, got 13"):
        build().generate(np.array([[1, SOURCE_WORDS]]), BEAM, START)
    with pytest.raises(tf.errors.InvalidArgumentError, match="start"):
        build().generate(SOURCE, BEAM, TARGET_WORDS)


def test_bad_inputs():
    with pytest.raises(ValueError, match=r"expected ids \[batch, length\]"):
        build().generate(SOURCE[0], BEAM, START)
    with pytest.raises(TypeError, match="start must be integers"):
        build().generate(SOURCE, BEAM, 7.0)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        build().generate(SOURCE, BEAM, tf.constant([7, 7]))
