"""ops.embedding against the float64 reference."""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput
from hypothesis import given, settings
from hypothesis import strategies as st

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import rounded
from tf_ls.testing.case import DTYPES
from tf_ls.testing.comparison import TOLERANCES, assert_close

VOCABULARY, HIDDEN, LENGTH = 11, 24, 7
LENGTHS = [7, 0, 1, 5]
REAL = np.arange(LENGTH) < np.asarray(LENGTHS)[:, None]
SEED = tf.constant([1, 2], tf.int64)


def random_ids(rng, shape, dtype="int32"):
    return tf.constant(rng.integers(0, VOCABULARY, shape), dtype)


def packed_layout(real=REAL):
    return ops.pack_layouts([tf.constant(~real)])[0]


def from_rows(rows, layout, shape=REAL.shape):
    return ops.unpack(rows, layout, tf.constant(shape))


def dense(gradient):
    """A gradient as a tensor; tf.convert_to_tensor adds up what IndexedSlices have twice."""
    return tf.convert_to_tensor(gradient)


# Numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("table_dtype", DTYPES)
@pytest.mark.parametrize("positions", [None, "sinusoids", "learned"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "dense"])
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "whole"])
def test_output_and_gradients(packed, positions, table_dtype, dtype, sparse):
    rng = np.random.default_rng(0)
    ids = random_ids(rng, REAL.shape, "int64" if sparse else "int32")
    tables = [rounded(rng.normal(size=[n, HIDDEN]), table_dtype) for n in (VOCABULARY, LENGTH + 2)]
    cotangent = rounded(rng.normal(size=[*REAL.shape, HIDDEN]), dtype)
    layout = packed_layout() if packed else None

    arguments = [tf.constant(t, table_dtype) for t in tables[: 1 + (positions == "learned")]]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        output = ops.embedding(
            ids,
            arguments[0],
            indices=layout,
            scale=1.5,
            positions=arguments[1] if positions == "learned" else positions,
            sparse_gradient=sparse,
            dtype=dtype,
        )
        assert output.dtype == dtype
        output = from_rows(output, layout) if packed else output
    gradients = tape.gradient(output, arguments, tf.constant(cotangent, dtype))
    assert isinstance(gradients[0], tf.IndexedSlices) is sparse
    assert [g.dtype for g in gradients] == [a.dtype for a in arguments]

    added = {
        None: None,
        "sinusoids": reference.timing_signal(0, LENGTH, HIDDEN),
        "learned": tables[1],
    }[positions]
    expected = np.stack([reference.embedding(s, tables[0], 1.5, added) for s in ids.numpy()])
    if packed:
        expected = np.where(REAL[..., None], expected, 0.0)
        cotangent = np.where(REAL[..., None], cotangent, 0.0)
    assert_close(output, expected, dtype)

    coarser = max(dtype, table_dtype, key=TOLERANCES.get)
    wanted = np.zeros([VOCABULARY, HIDDEN])
    np.add.at(wanted, ids.numpy(), cotangent * 1.5)
    assert_close(dense(gradients[0]), wanted, coarser, "gradient of the table")
    if positions == "learned":
        wanted = np.pad(cotangent.sum(0, dtype=np.float64), [(0, 2), (0, 0)])
        assert_close(gradients[1], wanted, coarser, "gradient of positions")


@pytest.mark.parametrize("start", [0, 3, 1000])
@pytest.mark.parametrize("hidden", [1, 2, 5, 64])
def test_timing_signal_of_any_length(start, hidden):
    output = ops.embedding(
        tf.zeros([1, 2000], tf.int32), tf.zeros([1, hidden]), positions="sinusoids", start=start
    )
    assert_close(output[0], reference.timing_signal(start, 2000, hidden), "float32")


def test_start_of_a_learned_table():
    rng = np.random.default_rng(0)
    positions = tf.constant(rng.normal(size=[9, 3]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(positions)
        output = ops.embedding(
            tf.zeros([2, 4], tf.int32), tf.zeros([1, 3]), positions=positions, start=5
        )
    np.testing.assert_array_equal(output, np.broadcast_to(positions[5:], [2, 4, 3]))
    wanted = np.zeros([9, 3])
    wanted[5:] = 2.0
    np.testing.assert_array_equal(tape.gradient(output, positions), wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "dense"])
@pytest.mark.parametrize("start", [0, 2])
def test_token_types(start, packed, dtype):
    """Position p of type t is row t * P + p, in the gradient, too."""
    rng = np.random.default_rng(0)
    rows_of_type, token_types = LENGTH + 4, 3
    table = rounded(rng.normal(size=[token_types * rows_of_type, HIDDEN]), dtype)
    types = np.where(REAL | (not packed), rng.integers(0, token_types, REAL.shape), -1)
    cotangent = rounded(rng.normal(size=[*REAL.shape, HIDDEN]), dtype)
    layout = packed_layout() if packed else None
    positions = tf.constant(table, dtype)
    with tf.GradientTape() as tape:
        tape.watch(positions)
        output = ops.embedding(
            tf.zeros(REAL.shape, tf.int32),
            tf.zeros([1, HIDDEN], dtype),
            indices=layout,
            positions=positions,
            types=tf.constant(types),
            token_types=token_types,
            start=start,
        )
        output = from_rows(output, layout) if packed else output
    seen = REAL if packed else np.ones_like(REAL)
    rows = types * rows_of_type + start + np.arange(LENGTH)
    assert_close(output, np.where(seen[..., None], table[rows], 0.0), dtype)
    wanted = np.zeros(table.shape)
    np.add.at(wanted, rows[seen], cotangent[seen].astype(np.float64))
    gradient = tape.gradient(output, positions, tf.constant(cotangent, dtype))
    assert_close(gradient, wanted, dtype, "gradient of positions")


def test_tokens_are_of_type_0_unless_told():
    table = tf.random.stateless_normal([8, 3], [1, 2])
    arguments = (tf.zeros([2, 4], tf.int32), tf.zeros([1, 3]))
    output = ops.embedding(*arguments, positions=table, token_types=2)
    np.testing.assert_array_equal(output, np.broadcast_to(table[:4], [2, 4, 3]))


def test_position_is_that_in_the_padded_batch():
    real = np.array([[False, True, False, True]])
    layout = packed_layout(real)
    output = ops.embedding(
        tf.zeros([1, 4], tf.int32), tf.zeros([1, 8]), indices=layout, positions="sinusoids"
    )
    assert_close(output[:2], reference.timing_signal(0, 4, 8)[[1, 3]], "float32")


def test_sparse_gradient_has_a_row_for_each_token_and_none_for_padding():
    ids = random_ids(np.random.default_rng(0), REAL.shape)
    table = tf.ones([VOCABULARY, 3])
    with tf.GradientTape() as tape:
        tape.watch(table)
        output = ops.embedding(ids, table, indices=packed_layout())
    gradient = tape.gradient(output, table)
    np.testing.assert_array_equal(gradient.indices, ids.numpy()[REAL])
    np.testing.assert_array_equal(gradient.values, np.ones([REAL.sum(), 3]))
    np.testing.assert_array_equal(gradient.dense_shape, table.shape)


@pytest.mark.parametrize("sparse", [True, False])
def test_gradient_of_a_variable(sparse):
    ids = tf.constant([[3, 3, 1]])
    optimizer = tf.keras.optimizers.SGD(1.0)
    table = tf.Variable(tf.zeros([5, 2]))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(ops.embedding(ids, table, sparse_gradient=sparse))
        gradient = tape.gradient(loss, table)
        assert isinstance(gradient, tf.IndexedSlices) is sparse
        optimizer.apply_gradients([(gradient, table)])

    step()
    np.testing.assert_array_equal(table, [[0, 0], [-1, -1], [0, 0], [-2, -2], [0, 0]])


def test_gradient_of_a_function_called_under_a_tape():
    table = tf.Variable(tf.ones([5, 2]))
    function = tf.function(lambda: ops.embedding(tf.constant([[3, 3, 1]]), table, scale=2.0))
    with tf.GradientTape() as tape:
        output = function()
    gradient = dense(tape.gradient(output, table))
    np.testing.assert_array_equal(gradient, [[0, 0], [2, 2], [0, 0], [4, 4], [0, 0]])


def test_gradient_is_added_to_that_of_a_tied_projection():
    table = tf.Variable(tf.ones([5, 2]))
    with tf.GradientTape() as tape:
        rows = ops.embedding(tf.constant([[3, 3, 1]]), table, sparse_gradient=False)
        loss = tf.reduce_sum(rows) + tf.reduce_sum(tf.matmul(tf.ones([1, 5]), table))
    gradient = tape.gradient(loss, table)
    assert isinstance(gradient, tf.Tensor)
    np.testing.assert_array_equal(gradient, [[1, 1], [2, 2], [1, 1], [3, 3], [1, 1]])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 6),
    length=st.integers(1, 40),
    hidden=st.integers(1, 70),
    data=st.data(),
)
def test_random_shapes(batch, length, hidden, data):
    rng = np.random.default_rng(0)
    lengths = data.draw(st.lists(st.integers(0, length), min_size=batch, max_size=batch))
    real = np.arange(length) < np.asarray(lengths)[:, None]
    ids = random_ids(rng, real.shape)
    table = rng.normal(size=[VOCABULARY, hidden]).astype(np.float32)
    layout = packed_layout(real)
    rows = ops.embedding(ids, table, indices=layout, scale=3.0, positions="sinusoids")
    signal = reference.timing_signal(0, length, hidden)
    expected = np.stack([reference.embedding(s, table, 3.0, signal) for s in ids.numpy()])
    assert_close(
        from_rows(rows, layout, real.shape), np.where(real[..., None], expected, 0.0), "float32"
    )


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
@pytest.mark.parametrize("sparse", [True, False])
def test_nothing(shape, sparse):
    arguments = [tf.ones([5, 3]), tf.ones([6, 3])]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        output = ops.embedding(
            tf.zeros(shape, tf.int32),
            arguments[0],
            positions=arguments[1],
            dropout=0.5,
            sparse_gradient=sparse,
        )
    assert output.shape == [*shape, 3]
    for argument, gradient in zip(arguments, tape.gradient(output, arguments)):
        np.testing.assert_array_equal(dense(gradient), np.zeros(argument.shape))


def test_static_shapes():
    @tf.function(input_signature=[tf.TensorSpec([4, None], tf.int32)])
    def function(ids):
        table = tf.ones([VOCABULARY, 8])
        assert ops.embedding(ids, table).shape.as_list() == [4, None, 8]
        rows = ops.embedding(ids, table, indices=tf.zeros([64], tf.int32))
        assert rows.shape.as_list() == [64, 8]
        return rows

    function(tf.zeros([4, 6], tf.int32))


# Dropout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_rate_and_scale(rate, dtype):
    output = ops.embedding(
        tf.zeros([50, 40], tf.int32), tf.ones([1, 33]), dropout=rate, seed=SEED, dtype=dtype
    )
    output = tf.cast(output, tf.float32).numpy()
    kept = output != 0.0
    deviation = np.sqrt(rate * (1.0 - rate) / kept.size)
    assert abs(kept.mean() - (1.0 - rate)) < 5.0 * deviation
    np.testing.assert_allclose(
        output[kept], 1.0 / (1.0 - rate), rtol=1e-6 if dtype == "float32" else 1e-2
    )


def test_dropout_drops_positions_too():
    arguments = (tf.zeros([2, 5], tf.int32), tf.ones([1, 30]))
    options = {"dropout": 0.5, "seed": SEED}
    alone = ops.embedding(*arguments, **options)
    together = ops.embedding(*arguments, positions=tf.ones([5, 30]), **options)
    np.testing.assert_array_equal(together, 2.0 * alone)


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "whole"])
@pytest.mark.parametrize("packed", [True, False], ids=["packed", "dense"])
def test_gradients_have_the_masks_of_the_forward(packed, sparse):
    ids = tf.reshape(tf.range(28, dtype=tf.int32), REAL.shape)  # every token another id
    arguments = [tf.ones([28, HIDDEN]), tf.zeros([LENGTH, HIDDEN])]
    layout = packed_layout() if packed else None
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        output = ops.embedding(
            ids,
            arguments[0],
            indices=layout,
            positions=arguments[1],
            dropout=0.3,
            seed=SEED,
            sparse_gradient=sparse,
        )
        output = from_rows(output, layout) if packed else output
    table, positions = tape.gradient(output, arguments)
    np.testing.assert_array_equal(tf.reshape(dense(table), output.shape), output)
    np.testing.assert_allclose(positions, tf.reduce_sum(output, axis=0), rtol=1e-6)


def test_dropout_seeds():
    def call(seed=None):
        return ops.embedding(
            tf.zeros([3, 5], tf.int32), tf.ones([1, 40]), dropout=0.5, seed=seed
        ).numpy()

    np.testing.assert_array_equal(call(SEED), call(SEED))
    assert (call() != call()).any()
    tf.random.set_seed(5)
    first = call()
    tf.random.set_seed(5)
    np.testing.assert_array_equal(call(), first)


# Bad input ---------------------------------------------------------------------------------------


def call(ids=((1, 2), (3, 4)), table=(5, 8), positions=None, **more):
    if isinstance(positions, tuple):
        positions = tf.zeros(positions)
    ids = tf.constant(ids) if isinstance(ids, tuple) else ids
    return ops.embedding(ids, tf.zeros(table), positions=positions, **more)


def test_good_input_is_good():
    assert call(positions=(2, 8)).shape == [2, 2, 8]


@pytest.mark.parametrize("bad", [5, -1, 2**31 - 1, 2**33])
def test_id_outside_the_vocabulary(bad):
    ids = tf.constant([[1, 2], [3, bad]], tf.int64)
    message = rf"from 0 to 4 in a vocabulary of 5, got {bad} at \[1, 1\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(ids)


def test_id_at_padding_may_be_anything():
    layout = packed_layout(np.array([[True, True], [True, False]]))
    assert call(tf.constant([[1, 2], [3, 77]]), indices=layout).shape == [64, 8]


def test_sentence_longer_than_the_table_of_positions():
    message = r"has 3 rows, but the token at \[0, 2\] has position 3"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(((1, 2, 3),), positions=(3, 8), start=1)


def test_padding_may_be_longer_than_the_table_of_positions():
    layout = packed_layout(np.array([[True, True, False]]))
    assert call(((1, 2, 3),), positions=(2, 8), indices=layout).shape == [64, 8]


@pytest.mark.parametrize("start", [-1, 4, [0]], ids=str)
def test_bad_start(start):
    with pytest.raises(BadInput, match=r"start|rank"):
        call(tf.zeros([0, 2], tf.int32), positions=(3, 8), start=start)


@pytest.mark.parametrize("index", [4, -2, 1000000])
def test_index_outside_the_batch(index):
    with pytest.raises(BadInput, match=f"index 1 must be from -1 to 3, got {index}"):
        call(indices=tf.constant([0, index]))


@pytest.mark.parametrize(
    "change",
    [
        {"ids": (1, 2)},
        {"ids": (((1, 2),),)},
        {"table": (5,)},
        {"table": (5, 8, 1)},
        {"positions": (2, 9)},
        {"positions": (8,)},
        {"indices": tf.zeros([2, 2], tf.int32)},
        {"seed": tf.zeros([3], tf.int64)},
    ],
    ids=str,
)
def test_bad_shape(change):
    with pytest.raises(BadInput):
        call(**change)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_bad_dropout(rate):
    with pytest.raises(BadInput, match="dropout"):
        call(dropout=rate)


@pytest.mark.parametrize(
    "change",
    [
        {"ids": tf.zeros([2, 2])},
        {"indices": tf.zeros([2], tf.int64)},
        {"dtype": "float64"},
        {"positions": tf.zeros([2, 8], tf.float16)},
    ],
    ids=str,
)
def test_bad_dtype(change):
    with pytest.raises(BadDtype):
        call(**change)


def test_unknown_positions():
    with pytest.raises(ValueError, match='"sinusoids", a tensor or None, got "rotary"'):
        call(positions="rotary")
