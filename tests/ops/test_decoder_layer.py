"""ops.decoder_layer and ops.decoder_layer_step against the float64 reference, and bad input."""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ls import ops
from tf_ls.library import library
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS, random_batch, rounded
from tf_ls.testing.case import DTYPES
from tf_ls.testing.comparison import assert_close, relative_error

HIDDEN, FILTER, HEADS, MEMORY = 24, 40, 3, 20
LENGTHS, MEMORY_LENGTHS = [7, 1, 5, 9, 2], [4, 6, 1, 11, 3]
ACTIVATIONS = ("relu", "tanh", "gelu", "gelu_nonapprox", "silu")


def check(
    lengths,
    memory_lengths,
    *,
    hidden=HIDDEN,
    filter_size=FILTER,
    heads=HEADS,
    memory_size=MEMORY,
    dtype="float32",
    kind="packed",
    memory_kind="packed",
    training=True,
    **options,
):
    """Compares output and all gradients with the reference's; without memory_lengths no memory."""
    rng = np.random.default_rng(7)
    batch = random_batch(rng, lengths, hidden, kind=kind, dtype=dtype)
    memory, values = None, [batch.values]
    if memory_lengths is not None:
        memory = random_batch(rng, memory_lengths, memory_size, kind=memory_kind, dtype=dtype)
        values.append(memory.values)
    weights = reference.decoder_weights(rng, hidden, filter_size, memory and memory_size)
    rounding_matters = dtype != "float32" or filter_size >= 2048
    if rounding_matters and options.get("activation", "relu") == "relu":
        reference.keep_away_from_kink(weights)
    cotangent = batch.cotangent(rng, hidden, dtype)

    inputs = [tf.constant(v, dtype) for v in values]
    parameters = [tf.constant(w) for w in weights]
    layout, memory_layout = batch.layout(), memory and memory.layout()
    with tf.GradientTape() as tape:
        tape.watch([*inputs, *parameters])
        rows = ops.decoder_layer(
            batch.to_rows(inputs[0], layout),
            layout,
            memory and memory.to_rows(inputs[1], memory_layout),
            memory_layout,
            parameters,
            num_heads=heads,
            training=training,
            **options,
        )
        output = batch.from_rows(rows, layout)
    gradients = tape.gradient(output, [*inputs, *parameters], tf.constant(cotangent, dtype))
    assert output.dtype == inputs[0].dtype
    assert [g.dtype for g in gradients] == [v.dtype for v in [*inputs, *parameters]]

    def alone(x, keys, b):
        if memory is None:
            return reference.decoder_layer(x, None, weights, heads, keys=keys, **options)
        seen = memory.values[b, : memory_lengths[b]]
        return reference.decoder_layer(x, seen, weights, heads, keys=keys, **options)

    assert_close(output, batch.each_sentence(alone), dtype)

    exact = [tf.constant(a, tf.float64) for a in (*values, *weights)]
    with tf.GradientTape() as tape:
        tape.watch(exact)
        expected = reference.decoder_layer_tf(
            exact[0],
            lengths,
            exact[1] if memory else None,
            memory_lengths,
            exact[len(values) :],
            heads,
            **options,
        )
    expected = tape.gradient(expected, exact, tf.constant(cotangent, tf.float64))
    for i, (actual, want) in enumerate(zip(gradients, expected)):
        name = f"input {i}" if i < len(values) else f"weight {i - len(values)}"
        assert_close(actual, want, dtype, f"gradient of {name}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre_norm", "post_norm"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("memory_lengths", [None, MEMORY_LENGTHS], ids=["no_memory", "memory"])
def test_output_and_gradients(dtype, pre_norm, activation, memory_lengths):
    check(LENGTHS, memory_lengths, dtype=dtype, pre_norm=pre_norm, activation=activation)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("memory_kind", LAYOUTS)
def test_layouts(dtype, kind, memory_kind):
    check(LENGTHS, MEMORY_LENGTHS, dtype=dtype, kind=kind, memory_kind=memory_kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_lag", [0, 1, 3, 100])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_wait_k(dtype, memory_lag, kind):
    check(LENGTHS, MEMORY_LENGTHS, dtype=dtype, memory_lag=memory_lag, kind=kind, memory_kind=kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_lengths", [None, MEMORY_LENGTHS], ids=["no_memory", "memory"])
def test_gradient_outside_training_recomputes_the_forward(dtype, memory_lengths):
    check(LENGTHS, memory_lengths, dtype=dtype, training=False)


@pytest.mark.parametrize(
    ("hidden", "filter_size", "heads", "memory_size"),
    [(1, 1, 1, 1), (7, 3, 7, 5), (33, 65, 1, 34), (96, 17, 12, 8), (130, 257, 2, 3)],
)
def test_any_size(hidden, filter_size, heads, memory_size):
    check(
        [3, 17, 1],
        [2, 1, 19],
        hidden=hidden,
        filter_size=filter_size,
        heads=heads,
        memory_size=memory_size,
        activation="tanh",
    )


@pytest.mark.parametrize(
    ("lengths", "memory_lengths"),
    [
        ([0, 4, 0], [3, 2, 0]),
        ([1], [1]),
        ([1, 1], [70, 65]),
        ([70, 65], [1, 1]),
        ([64], [128]),
        ([3, 2], [4, 0]),  # a sentence whose memory is empty attends to nothing
    ],
)
def test_lengths(lengths, memory_lengths):
    check(lengths, memory_lengths)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    lengths=st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=6
    ).filter(lambda pairs: any(length for length, _ in pairs)),
    heads=st.integers(1, 6),
    depth=st.integers(5, 20),
    memory_size=st.integers(1, 40),
    pre_norm=st.booleans(),
    memory_lag=st.one_of(st.none(), st.integers(1, 25)),
)
def test_random_shapes(lengths, heads, depth, memory_size, pre_norm, memory_lag):
    check(
        *map(list, zip(*lengths)),
        hidden=heads * depth,
        heads=heads,
        memory_size=memory_size,
        pre_norm=pre_norm,
        memory_lag=memory_lag,
    )


def test_gradient_is_the_derivative():
    rng = np.random.default_rng(0)
    batch, memory = random_batch(rng, [2, 3], 6), random_batch(rng, [3, 1], 4)
    layout, memory_layout = batch.layout(), memory.layout()

    def function(x, memory_values, *weights):
        rows = ops.decoder_layer(
            batch.to_rows(x, layout),
            layout,
            memory.to_rows(memory_values, memory_layout),
            memory_layout,
            weights,
            num_heads=2,
            activation="tanh",
            training=True,
        )
        return batch.from_rows(rows, layout)

    def without_padding(b):
        return np.where(b.real[..., None], b.values, 0.0).astype(np.float32)

    arguments = [without_padding(batch), without_padding(memory)]
    arguments += reference.decoder_weights(rng, 6, 5, 4)
    theoretical, numerical = tf.test.compute_gradient(
        function, [tf.constant(a) for a in arguments], delta=1e-2
    )
    for i, (actual, want) in enumerate(zip(theoretical, numerical)):
        assert relative_error(actual, want) < 5e-3, i


# One step at a time ------------------------------------------------------------------------------


def decode(x, memory, memory_lengths, weights, *, steps, heads=HEADS, memory_lag=None, **options):
    """Returns the outputs of ops.decoder_layer_step over pieces of x of the given sizes."""
    batch, hidden = x.shape[0], x.shape[-1]
    keys = values = tf.zeros([batch, 0, heads, hidden // heads], x.dtype)
    memory_keys = memory_values = None
    if memory is not None:
        kernel, bias = (tf.cast(w, tf.float64) for w in weights[10:12])
        flat = tf.cast(memory, tf.float64) @ kernel + bias
        shape = [batch, -1, heads, hidden // heads]
        memory_keys, memory_values = (
            tf.cast(tf.reshape(t, shape), x.dtype) for t in tf.split(flat, 2, axis=-1)
        )
    outputs, done = [], 0
    for step in steps:
        y, keys, values = ops.decoder_layer_step(
            x[:, done : done + step],
            keys,
            values,
            memory_keys,
            memory_values,
            memory_lengths,
            weights,
            num_heads=heads,
            memory_lag=None if memory_lag is None else memory_lag + done,
            **options,
        )
        done += step
        assert keys.shape == values.shape == [batch, done, heads, hidden // heads]
        assert {y.dtype, keys.dtype, values.dtype} == {x.dtype}
        outputs.append(y)
    return tf.concat(outputs, axis=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre_norm", "post_norm"])
@pytest.mark.parametrize("memory_lengths", [None, [4, 6, 1]], ids=["no_memory", "memory"])
@pytest.mark.parametrize("steps", [[1] * 5, [5], [2, 1, 2]], ids=str)
def test_steps_are_the_layer(dtype, pre_norm, memory_lengths, steps):
    rng = np.random.default_rng(0)
    x = rounded(rng.normal(size=[3, 5, HIDDEN]), dtype)
    memory = memory_lengths and random_batch(rng, memory_lengths, MEMORY, dtype=dtype)
    weights = reference.decoder_weights(rng, HIDDEN, FILTER, memory and MEMORY)
    options = {"pre_norm": pre_norm, "activation": "gelu"}
    output = decode(
        tf.constant(x, dtype),
        memory and tf.constant(memory.values, dtype),
        memory_lengths,
        weights,
        steps=steps,
        **options,
    )
    expected = []
    for b in range(3):
        seen = memory and memory.values[b, : memory_lengths[b]]
        expected.append(reference.decoder_layer(x[b], seen, weights, HEADS, **options))
    assert_close(output, np.stack(expected), dtype)


def test_steps_with_wait_k():
    rng = np.random.default_rng(0)
    x = rng.normal(size=[3, 5, HIDDEN]).astype(np.float32)
    memory = random_batch(rng, [4, 6, 1], MEMORY)
    weights = reference.decoder_weights(rng, HIDDEN, FILTER, MEMORY)
    values = tf.constant(memory.values)
    output = decode(tf.constant(x), values, [4, 6, 1], weights, steps=[1] * 5, memory_lag=2)
    for b in range(3):
        seen = memory.values[b, : memory.lengths[b]]
        expected = reference.decoder_layer(x[b], seen, weights, HEADS, memory_lag=2)
        assert_close(output[b], expected, "float32")


def test_step_of_an_empty_batch():
    weights = reference.decoder_weights(np.random.default_rng(0), HIDDEN, FILTER)
    x = tf.zeros([0, 1, HIDDEN])
    assert decode(x, None, None, weights, steps=[1]).shape == [0, 1, HIDDEN]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pre_norm", [True, False], ids=["pre_norm", "post_norm"])
@pytest.mark.parametrize(
    ("memory_lengths", "memory_lag"),
    [(None, None), ([4, 6, 1], None), ([4, 6, 1], 2)],
    ids=["no_memory", "memory", "wait_k"],
)
@pytest.mark.parametrize("steps", [[1] * 5, [2, 3]], ids=str)
def test_gradient_through_steps_is_the_layers(dtype, pre_norm, memory_lengths, memory_lag, steps):
    rng = np.random.default_rng(0)
    values = [rounded(rng.normal(size=[3, 5, HIDDEN]), dtype)]
    if memory_lengths:
        values.append(random_batch(rng, memory_lengths, MEMORY, dtype=dtype).values)
    weights = reference.decoder_weights(rng, HIDDEN, FILTER, memory_lengths and MEMORY)
    options = {"pre_norm": pre_norm, "activation": "gelu", "memory_lag": memory_lag}
    cotangent = rounded(rng.normal(size=[3, 5, HIDDEN]), dtype)

    def gradients(decoder, inputs, parameters, cotangent):
        with tf.GradientTape() as tape:
            tape.watch([*inputs, *parameters])
            output = decoder(inputs[0], inputs[1] if memory_lengths else None, parameters)
        return tape.gradient(output, [*inputs, *parameters], cotangent)

    @tf.function
    def in_steps(x, memory, parameters):
        return decode(x, memory, memory_lengths, parameters, steps=steps, **options)

    def at_once(x, memory, parameters):
        return reference.decoder_layer_tf(
            x, [5] * 3, memory, memory_lengths, parameters, HEADS, **options
        )

    actual = gradients(
        in_steps,
        [tf.constant(v, dtype) for v in values],
        [tf.constant(w) for w in weights],
        tf.constant(cotangent, dtype),
    )
    expected = gradients(
        at_once,
        [tf.constant(v, tf.float64) for v in values],
        [tf.constant(w, tf.float64) for w in weights],
        tf.constant(cotangent, tf.float64),
    )
    for i, (gradient, want) in enumerate(zip(actual, expected)):
        assert_close(gradient, want, dtype, f"gradient {i}")


def test_gradients_of_the_caches():
    rng = np.random.default_rng(0)
    weights = reference.decoder_weights(rng, 6, 5, 4)

    def function(x, keys, values, memory_keys, memory_values, *parameters):
        y, new_keys, new_values = ops.decoder_layer_step(
            x,
            keys,
            values,
            memory_keys,
            memory_values,
            tf.constant([3, 1]),
            parameters,
            num_heads=2,
            activation="tanh",
        )
        outputs = [y, new_keys, new_values]
        return tf.concat([tf.reshape(output, [-1]) for output in outputs], axis=0)

    arguments = [rng.normal(size=[2, 2, 6])] + [rng.normal(size=[2, 3, 2, 3]) for _ in range(4)]
    arguments = [tf.constant(a, tf.float32) for a in [*arguments, *weights]]
    theoretical, numerical = tf.test.compute_gradient(function, arguments, delta=1e-2)
    for i, (actual, want) in enumerate(zip(theoretical, numerical)):
        assert relative_error(actual, want) < 5e-3, i


def test_static_shapes_of_a_step():
    weights = reference.decoder_weights(np.random.default_rng(0), 8, 16)

    @tf.function(input_signature=[tf.TensorSpec([None, 1, 8]), tf.TensorSpec([None, None, 2, 4])])
    def function(x, cache):
        y, keys, values = ops.decoder_layer_step(
            x, cache, cache, None, None, None, weights, num_heads=2
        )
        assert y.shape.as_list() == [None, 1, 8]
        assert keys.shape.as_list() == values.shape.as_list() == [None, None, 2, 4]
        return y, keys

    y, keys = function(tf.zeros([3, 1, 8]), tf.zeros([3, 5, 2, 4]))
    assert y.shape == [3, 1, 8]
    assert keys.shape == [3, 6, 2, 4]


# Bad input ---------------------------------------------------------------------------------------


def good():
    rng = np.random.default_rng(0)
    batch, memory = random_batch(rng, [3, 2], 8), random_batch(rng, [1, 4], 6)
    return {
        "x": batch.to_rows(tf.constant(batch.values), batch.layout()),
        "layout": batch.layout(),
        "memory": memory.to_rows(tf.constant(memory.values), memory.layout()),
        "memory_layout": memory.layout(),
        "weights": [tf.constant(w) for w in reference.decoder_weights(rng, 8, 16, 6)],
        "num_heads": 2,
    }


def call(**changes):
    arguments = {**good(), **changes}
    names = ("x", "layout", "memory", "memory_layout", "weights")
    return ops.decoder_layer(*[arguments.pop(name) for name in names], **arguments)


def test_good_input_is_good():
    assert call().shape == [64, 8]


@pytest.mark.parametrize("name", ["x", "memory"])
@pytest.mark.parametrize("shape", [[64], [2, 32, 8], [64, 9]], ids=str)
def test_bad_shape(name, shape):
    with pytest.raises(BadInput):
        call(**{name: tf.zeros(shape)})


def test_memory_of_another_dtype():
    with pytest.raises(BadDtype):
        call(memory=tf.cast(good()["memory"], tf.float16))


def test_memory_without_layout():
    with pytest.raises(BadDtype):
        call(memory_layout=None)


def test_memory_without_weights():
    weights = reference.decoder_weights(np.random.default_rng(0), 8, 16)
    with pytest.raises(BadInput, match=r"20|12"):
        call(weights=weights)


def test_weights_without_memory():
    with pytest.raises(BadInput, match=r"20|12"):
        call(memory=None, memory_layout=None)


def test_memory_of_another_batch_size():
    memory = random_batch(np.random.default_rng(0), [1, 4, 2], 6)
    rows = memory.to_rows(tf.constant(memory.values), memory.layout())
    with pytest.raises(BadInput, match=r"(?s)2.*3|3.*2"):
        call(memory=rows, memory_layout=memory.layout())


@pytest.mark.parametrize("index", range(20))
def test_bad_shape_of_a_weight(index):
    weights = good()["weights"]
    shape = weights[index].shape.as_list()
    weights[index] = tf.zeros([*shape[:-1], shape[-1] + 1])
    with pytest.raises(BadInput):
        call(weights=weights)


@pytest.mark.parametrize("memory_lag", [-1, -5])
def test_bad_memory_lag(memory_lag):
    with pytest.raises(BadInput):
        call(memory_lag=memory_lag)


@pytest.mark.parametrize("lengths", [[2, 4], [1, 5], [-1, 4], [1]], ids=str)
def test_bad_memory_lengths(lengths):
    layout = good()["memory_layout"]._replace(lengths=tf.constant(lengths, tf.int32))
    with pytest.raises(BadInput):
        call(memory_layout=layout)


def good_step():
    rng = np.random.default_rng(0)
    return {
        "x": tf.zeros([2, 1, 8]),
        "cache_keys": tf.zeros([2, 3, 2, 4]),
        "cache_values": tf.zeros([2, 3, 2, 4]),
        "memory_keys": tf.zeros([2, 5, 2, 4]),
        "memory_values": tf.zeros([2, 5, 2, 4]),
        "memory_lengths": tf.constant([5, 1]),
        "weights": [tf.constant(w) for w in reference.decoder_weights(rng, 8, 16, 8)],
        "num_heads": 2,
    }


def step(**changes):
    arguments = {**good_step(), **changes}
    names = list(arguments)[:7]
    return ops.decoder_layer_step(*[arguments.pop(name) for name in names], **arguments)


def test_good_step_is_good():
    assert step()[0].shape == [2, 1, 8]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("x", [2, 8]),
        ("x", [3, 1, 8]),
        ("x", [2, 1, 9]),
        ("cache_keys", [2, 4, 2, 4]),
        ("cache_keys", [2, 3, 4, 2]),
        ("cache_keys", [2, 3, 8]),
        ("cache_values", [1, 3, 2, 4]),
        ("memory_keys", [3, 5, 2, 4]),
        ("memory_keys", [2, 6, 2, 4]),
        ("memory_values", [2, 5, 1, 8]),
    ],
    ids=str,
)
def test_bad_shape_in_a_step(name, shape):
    with pytest.raises(BadInput):
        step(**{name: tf.zeros(shape)})


@pytest.mark.parametrize("lengths", [[6, 1], [-1, 1], [5], [5, 1, 1]], ids=str)
def test_bad_memory_lengths_in_a_step(lengths):
    with pytest.raises(BadInput):
        step(memory_lengths=tf.constant(lengths))


def test_cache_of_another_dtype():
    with pytest.raises(BadDtype):
        step(cache_keys=tf.zeros([2, 3, 2, 4], tf.float16))


@pytest.mark.parametrize("name", ["dy", "dkeys", "dvalues"])
def test_bad_shape_in_the_gradient_of_a_step(name):
    good = {"dy": [2, 1, 8], "dkeys": [2, 4, 2, 4], "dvalues": [2, 4, 2, 4]}
    inputs = good_step()
    memory = [inputs.pop("memory_keys"), inputs.pop("memory_values")]

    def gradient(**changes):
        cotangents = {key: tf.zeros(shape) for key, shape in {**good, **changes}.items()}
        return library.ops.ls_decoder_layer_step_grad(
            **cotangents, **inputs, memory=memory, memory_lag=5
        )

    gradient()
    with pytest.raises(BadInput):
        gradient(**{name: [2, 3, 2, 4]})


def test_step_with_memory_keys_alone():
    with pytest.raises(BadDtype):
        step(memory_values=None)
