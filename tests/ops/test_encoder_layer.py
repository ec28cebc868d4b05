"""ops.encoder_layer against the float64 reference, its gradients, shapes and bad input."""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS, random_batch
from tf_ls.testing.case import DTYPES
from tf_ls.testing.comparison import assert_close, relative_error

HIDDEN, FILTER, HEADS = 24, 40, 3
LENGTHS = [7, 1, 5, 9, 2]
ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox", "silu")
GRADIENTS = [
    "x",
    *(
        f"self {n}"
        for n in ["ln_gamma", "ln_beta", "qkv_kernel", "qkv_bias", "out_kernel", "out_bias"]
    ),
    *(f"ffn {n}" for n in ["ln_gamma", "ln_beta", "kernel1", "bias1", "kernel2", "bias2"]),
]


def check(
    lengths,
    *,
    hidden=HIDDEN,
    filter_size=FILTER,
    heads=HEADS,
    dtype="float32",
    kind="packed",
    training=True,
    length=None,
    **options,
):
    """Compares output and all gradients with the reference's."""
    rng = np.random.default_rng(7)
    batch = random_batch(rng, lengths, hidden, kind=kind, dtype=dtype, length=length)
    weights = reference.encoder_weights(rng, hidden, filter_size)
    rounding_matters = dtype != "float32" or filter_size >= 2048
    if rounding_matters and options.get("activation", "relu") == "relu":
        reference.keep_away_from_kink(weights)
    cotangent = batch.cotangent(rng, hidden, dtype)

    x = tf.constant(batch.values, dtype)
    parameters = [tf.constant(w) for w in weights]
    layout = batch.layout()
    with tf.GradientTape() as tape:
        tape.watch([x, *parameters])
        rows = ops.encoder_layer(
            batch.to_rows(x, layout),
            layout,
            parameters,
            num_heads=heads,
            training=training,
            **options,
        )
        output = batch.from_rows(rows, layout)
    gradients = tape.gradient(output, [x, *parameters], tf.constant(cotangent, dtype))
    assert output.dtype == x.dtype
    assert [g.dtype for g in gradients] == [x.dtype] + [tf.float32] * len(parameters)

    expected = batch.each_sentence(
        lambda x, keys, _: reference.encoder_layer(x, weights, heads, keys=keys, **options)
    )
    assert_close(output, expected, dtype)

    exact = [tf.constant(a, tf.float64) for a in (batch.values, *weights)]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        expected = reference.encoder_layer_tf(exact[0], lengths, exact[1:], heads, **options)
    expected = tape.gradient(expected, exact, tf.constant(cotangent, tf.float64))
    for name, actual, want in zip(GRADIENTS, gradients, expected):
        assert_close(actual, want, dtype, f"gradient of {name}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre_norm", "post_norm"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_output_and_gradients(dtype, pre_norm, activation, kind):
    check(LENGTHS, dtype=dtype, pre_norm=pre_norm, activation=activation, kind=kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_causal(dtype, kind):
    check(LENGTHS, dtype=dtype, causal=True, kind=kind)


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_outside_training_recomputes_the_forward(dtype, kind):
    check(LENGTHS, dtype=dtype, training=False, kind=kind)


@pytest.mark.parametrize(
    ("hidden", "filter_size", "heads"),
    [(1, 1, 1), (7, 3, 7), (30, 11, 5), (33, 65, 1), (96, 17, 12), (130, 257, 2)],
)
def test_any_size(hidden, filter_size, heads):
    check([3, 17, 1], hidden=hidden, filter_size=filter_size, heads=heads, activation="tanh")


@pytest.mark.parametrize("epsilon", [1e-12, 1e-3])
def test_epsilon(epsilon):
    check(LENGTHS, epsilon=epsilon)


@pytest.mark.parametrize("lengths", [[0, 4, 0], [1], [1, 1, 1], [64], [63, 1, 1], [128, 70]])
def test_lengths(lengths):
    check(lengths)


def test_long_sentences():
    check([300, 1, 77], hidden=16, filter_size=8, heads=2)


def test_padding_everywhere_beyond_the_longest_sentence():
    check([3, 1], length=9)
    check([3, 1], length=9, kind="dense")


def test_more_tokens_than_one_block_of_a_product():
    check([31] * 20, hidden=48, filter_size=100, heads=4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_size_of_transformer_base(dtype):
    check([80, 3, 41], hidden=512, filter_size=2048, heads=8, dtype=dtype)


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_empty_batch(kind, shape):
    batch = random_batch(np.random.default_rng(0), [0] * shape[0], 8, kind=kind, length=shape[1])
    x = tf.constant(batch.values)
    weights = [tf.constant(w) for w in reference.encoder_weights(np.random.default_rng(0), 8, 16)]
    layout = batch.layout()
    with tf.GradientTape() as tape:
        tape.watch([x, *weights])
        rows = batch.to_rows(x, layout)
        rows = ops.encoder_layer(rows, layout, weights, num_heads=2, training=True)
        output = batch.from_rows(rows, layout)
    gradients = tape.gradient(output, [x, *weights])
    assert output.shape == (*shape, 8)
    for value, gradient in zip([x, *weights], gradients):
        np.testing.assert_array_equal(gradient, np.zeros(value.shape))


def test_all_padding_sentence_in_a_dense_layout_disturbs_no_other():
    rng = np.random.default_rng(0)
    weights = [tf.constant(w) for w in reference.encoder_weights(rng, 8, 16)]
    batch = random_batch(rng, [4, 0, 3], 8, kind="dense")
    rows = ops.encoder_layer(
        batch.to_rows(tf.constant(batch.values), batch.layout()),
        batch.layout(),
        weights,
        num_heads=2,
    )
    output = batch.from_rows(rows, batch.layout()).numpy()
    assert np.isfinite(output).all()
    for b in (0, 2):
        want = reference.encoder_layer(batch.values[b], weights, 2, keys=batch.lengths[b])
        assert_close(output[b], want, "float32")


@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre_norm", "post_norm"])
def test_nan_stays_in_its_sentence(pre_norm):
    rng = np.random.default_rng(0)
    weights = [tf.constant(w) for w in reference.encoder_weights(rng, HIDDEN, FILTER)]
    batch = random_batch(rng, LENGTHS, HIDDEN)
    values = batch.values.copy()
    values[2, 1, 3] = np.nan
    layout = batch.layout()
    rows = batch.to_rows(tf.constant(values), layout)
    rows = ops.encoder_layer(rows, layout, weights, num_heads=HEADS, pre_norm=pre_norm)
    output = batch.from_rows(rows, layout).numpy()
    assert np.isnan(output[2, : LENGTHS[2]]).all()
    assert np.isfinite(np.delete(output, 2, axis=0)).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale", [1e2, 1e6])
def test_large_attention_logits_overflow_nothing(scale, dtype):
    rng = np.random.default_rng(0)
    weights = [tf.constant(w) for w in reference.encoder_weights(rng, HIDDEN, FILTER)]
    batch = random_batch(rng, LENGTHS, HIDDEN)
    x = tf.constant(batch.values * scale, dtype)
    layout = batch.layout()
    with tf.GradientTape() as tape:
        tape.watch([x, *weights])
        rows = ops.encoder_layer(
            batch.to_rows(x, layout), layout, weights, num_heads=HEADS, pre_norm=False
        )
        output = batch.from_rows(rows, layout)
    for value in (output, *tape.gradient(output, [x, *weights])):
        assert np.isfinite(tf.cast(value, tf.float32).numpy()).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_runs_repeat_to_the_bit(dtype):
    rng = np.random.default_rng(0)
    batch = random_batch(rng, [50, 3, 41, 64, 17], 64, dtype=dtype)
    weights = [tf.constant(w) for w in reference.encoder_weights(rng, 64, 160)]
    x, layout = tf.constant(batch.values, dtype), batch.layout()

    def run():
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            rows = ops.encoder_layer(
                batch.to_rows(x, layout),
                layout,
                weights,
                num_heads=4,
                attention_dropout=0.1,
                activation_dropout=0.1,
                residual_dropout=0.1,
                training=True,
                seed=tf.constant([3, 4], tf.int64),
            )
            output = batch.from_rows(rows, layout)
        return [output, *tape.gradient(output, [x, *weights])]

    first = run()
    for _ in range(5):
        for actual, want in zip(run(), first):
            np.testing.assert_array_equal(actual, want)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_weights_get_half_gradients(dtype):
    rng = np.random.default_rng(0)
    batch = random_batch(rng, LENGTHS, HIDDEN, dtype=dtype)
    weights = [tf.constant(w, dtype) for w in reference.encoder_weights(rng, HIDDEN, FILTER)]
    layout = batch.layout()
    with tf.GradientTape() as tape:
        tape.watch(weights)
        rows = batch.to_rows(tf.constant(batch.values, dtype), layout)
        output = ops.encoder_layer(rows, layout, weights, num_heads=HEADS)
        output = batch.from_rows(output, layout)
    gradients = tape.gradient(output, weights)
    assert {g.dtype for g in gradients} == {tf.as_dtype(dtype)}
    weights = [tf.cast(w, tf.float32) for w in weights]
    expected = batch.each_sentence(lambda x, *_: reference.encoder_layer(x, weights, HEADS))
    assert_close(output, expected, dtype)


@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre_norm", "post_norm"])
def test_gradient_is_the_derivative(pre_norm):
    rng = np.random.default_rng(0)
    batch = random_batch(rng, [2, 3], 6)
    layout = batch.layout()

    def function(x, *weights):
        rows = batch.to_rows(x, layout)
        rows = ops.encoder_layer(
            rows, layout, weights, num_heads=2, pre_norm=pre_norm, activation="tanh", training=True
        )
        return batch.from_rows(rows, layout)

    arguments = [tf.constant(batch.values * 0.1), *reference.encoder_weights(rng, 6, 5)]
    if pre_norm:
        arguments[0] = tf.constant(np.where(batch.real[..., None], batch.values, 0.0), tf.float32)
    theoretical, numerical = tf.test.compute_gradient(
        function, [tf.constant(a) for a in arguments], delta=1e-2
    )
    for name, actual, want in zip(GRADIENTS, theoretical, numerical):
        assert relative_error(actual, want) < 5e-3, name


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any),
    heads=st.integers(1, 6),
    depth=st.integers(5, 20),
    filter_size=st.integers(1, 80),
    pre_norm=st.booleans(),
    causal=st.booleans(),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_random_shapes(lengths, heads, depth, filter_size, pre_norm, causal, activation):
    check(
        lengths,
        hidden=heads * depth,
        filter_size=filter_size,
        heads=heads,
        pre_norm=pre_norm,
        causal=causal,
        activation=activation,
    )


def test_static_shapes():
    weights = reference.encoder_weights(np.random.default_rng(0), 8, 16)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, 8]),
            tf.TensorSpec([None, None], tf.bool),
        ]
    )
    def function(x, padding):
        (layout,) = ops.pack_layouts([padding])
        rows = ops.pack(x, layout)
        assert rows.shape.as_list() == [None, 8]
        rows = ops.encoder_layer(rows, layout, weights, num_heads=2)
        assert rows.shape.as_list() == [None, 8]
        output = ops.unpack(rows, layout, tf.shape(x)[:2])
        assert output.shape[-1] == 8
        return output

    assert function(tf.zeros([2, 3, 8]), tf.zeros([2, 3], tf.bool)).shape == [2, 3, 8]


def test_under_tf_function_and_without_agree():
    rng = np.random.default_rng(0)
    batch = random_batch(rng, LENGTHS, HIDDEN)
    weights = [tf.constant(w) for w in reference.encoder_weights(rng, HIDDEN, FILTER)]

    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            (layout,) = ops.pack_layouts([batch.padding])
            rows = ops.encoder_layer(
                ops.pack(x, layout), layout, weights, num_heads=HEADS, training=True
            )
            output = ops.unpack(rows, layout, tf.shape(x)[:2])
        return output, tape.gradient(output, x)

    x = tf.constant(batch.values)
    for eager, traced in zip(function(x), tf.function(function)(x)):
        np.testing.assert_allclose(eager, traced, rtol=1e-6, atol=1e-6)


# Bad input ---------------------------------------------------------------------------------------


def call(*, x=None, layout=None, weights=None, num_heads=2, **options):
    batch = random_batch(np.random.default_rng(0), [3, 2], 8)
    layout = batch.layout() if layout is None else layout
    x = batch.to_rows(tf.constant(batch.values), layout) if x is None else x
    weights = good_weights() if weights is None else weights
    return ops.encoder_layer(x, layout, weights, num_heads=num_heads, **options)


def good_weights():
    return [tf.constant(w) for w in reference.encoder_weights(np.random.default_rng(0), 8, 16)]


def good_layout(**changes):
    return random_batch(np.random.default_rng(0), [3, 2], 8).layout()._replace(**changes)


def test_good_input_is_good():
    assert call().shape == [64, 8]


@pytest.mark.parametrize("shape", [[8], [2, 32, 8], []])
def test_bad_rank_of_x(shape):
    with pytest.raises(BadInput):
        call(x=tf.zeros(shape))


def test_bad_width_of_x():
    with pytest.raises(BadInput, match=r"\[10\], got \[8\]"):
        call(x=tf.zeros([64, 10]))


@pytest.mark.parametrize("dtype", ["float64", "int32"])
def test_bad_dtype_of_x(dtype):
    with pytest.raises(BadDtype):
        call(x=tf.zeros([64, 8], dtype))


@pytest.mark.parametrize("count", [1, 11, 13, 20])
def test_bad_number_of_weights(count):
    with pytest.raises(BadInput, match="12"):
        call(weights=(good_weights() * 2)[:count])


@pytest.mark.parametrize("index", range(12))
def test_bad_shape_of_a_weight(index):
    weights = good_weights()
    shape = weights[index].shape.as_list()
    weights[index] = tf.zeros([*shape[:-1], shape[-1] + 1])
    with pytest.raises(BadInput):
        call(weights=weights)


@pytest.mark.parametrize("index", range(12))
def test_bad_rank_of_a_weight(index):
    weights = good_weights()
    weights[index] = weights[index][None]
    with pytest.raises(BadInput):
        call(weights=weights)


def test_weights_of_different_dtypes():
    weights = good_weights()
    weights[2] = tf.cast(weights[2], tf.float16)
    with pytest.raises(BadDtype):
        call(weights=weights)


@pytest.mark.parametrize("heads", [0, -1, 3, 16])
def test_bad_number_of_heads(heads):
    with pytest.raises(BadInput):
        call(num_heads=heads)


@pytest.mark.parametrize("activation", ["mish", "", None])
def test_bad_activation(activation):
    with pytest.raises(BadDtype):
        call(activation=activation)


@pytest.mark.parametrize("name", ["attention", "activation", "residual"])
@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0, float("nan")])
def test_bad_dropout(name, rate):
    with pytest.raises(BadInput):
        call(training=True, **{f"{name}_dropout": rate})


@pytest.mark.parametrize("epsilon", [-1e-6, float("nan")])
def test_bad_epsilon(epsilon):
    with pytest.raises(BadInput):
        call(epsilon=epsilon)


@pytest.mark.parametrize(
    "offsets",
    [[0, 3, 2], [0, 3, 65], [-1, 3, 5], [0, 3], [0, 3, 5, 6], [0, -1, 5], [], [[0, 3, 5]]],
    ids=str,
)
def test_bad_offsets(offsets):
    with pytest.raises(BadInput):
        call(layout=good_layout(offsets=tf.constant(offsets, tf.int32)))


@pytest.mark.parametrize("lengths", [[4, 2], [-1, 2], [3], [3, 2, 0], [[3, 2]]], ids=str)
def test_bad_lengths(lengths):
    with pytest.raises(BadInput):
        call(layout=good_layout(lengths=tf.constant(lengths, tf.int32)))


@pytest.mark.parametrize("seed", [[1], [1, 2, 3], 1])
def test_bad_seed(seed):
    with pytest.raises(BadInput):
        call(training=True, residual_dropout=0.1, seed=tf.constant(seed, tf.int64))
