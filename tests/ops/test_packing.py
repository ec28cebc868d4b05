"""ops.pack_layouts, dense_layout, pack and unpack."""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tf_ls import ops
from tf_ls.testing.case import DTYPES

PADDING = np.array([[0, 0, 1], [1, 1, 1], [0, 0, 0]], bool)


def test_layout_of_a_small_batch():
    (layout,) = ops.pack_layouts([PADDING])
    np.testing.assert_array_equal(layout.offsets, [0, 2, 2, 5])
    np.testing.assert_array_equal(layout.lengths, [2, 0, 3])
    np.testing.assert_array_equal(layout.indices, [0, 1, 6, 7, 8] + [-1] * 59)
    assert {t.dtype for t in layout} == {tf.int32}


@pytest.mark.parametrize("dtype", ["bool", "int32", "int64", "float32", "float16", "bfloat16"])
def test_padding_of_any_dtype(dtype):
    expected = ops.pack_layouts([PADDING])[0]
    layout = ops.pack_layouts([tf.cast(PADDING, dtype)])[0]
    for actual, want in zip(layout, expected):
        np.testing.assert_array_equal(actual, want)


def test_padding_that_is_not_one_is_padding_too():
    expected = ops.pack_layouts([PADDING])[0]
    layout = ops.pack_layouts([tf.constant(PADDING * -0.5, tf.float32)])[0]
    np.testing.assert_array_equal(layout.indices, expected.indices)


def test_padding_in_the_middle_is_left_out_too():
    (layout,) = ops.pack_layouts([tf.constant([[True, False, True, False], [False] * 4])])
    np.testing.assert_array_equal(layout.offsets, [0, 2, 6])
    np.testing.assert_array_equal(layout.indices[:7], [1, 3, 4, 5, 6, 7, -1])


@pytest.mark.parametrize(("tokens", "rows"), [(1, 64), (63, 64), (64, 64), (65, 128), (128, 128)])
def test_rows_are_rounded_up_to_64(tokens, rows):
    (layout,) = ops.pack_layouts([tf.zeros([1, tokens], tf.bool)])
    assert layout.indices.shape == [rows]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_layout_of_nothing(shape):
    (layout,) = ops.pack_layouts([tf.zeros(shape, tf.bool)])
    np.testing.assert_array_equal(layout.offsets, [0] * (shape[0] + 1))
    np.testing.assert_array_equal(layout.lengths, [0] * shape[0])
    assert (layout.indices.numpy() == -1).all()
    x = tf.zeros([*shape, 8])
    assert ops.unpack(ops.pack(x, layout), layout, tf.constant(shape)).shape == [*shape, 8]


def test_several_layouts_at_once():
    other = np.zeros([3, 5], bool)
    other[1, 2:] = True
    for together, alone in zip(
        ops.pack_layouts([PADDING, other]),
        [ops.pack_layouts([PADDING])[0], ops.pack_layouts([other])[0]],
    ):
        for actual, want in zip(together, alone):
            np.testing.assert_array_equal(actual, want)


def test_dense_layout():
    layout = ops.dense_layout(tf.constant(PADDING))
    np.testing.assert_array_equal(layout.offsets, [0, 3, 6, 9])
    np.testing.assert_array_equal(layout.lengths, [2, 0, 3])
    np.testing.assert_array_equal(layout.indices, range(9))


@pytest.mark.parametrize("dtype", DTYPES)
def test_pack_and_unpack(dtype):
    x = tf.constant(np.random.default_rng(0).normal(size=[3, 3, 5]), dtype)
    (layout,) = ops.pack_layouts([PADDING])
    rows = ops.pack(x, layout)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows[:5], tf.boolean_mask(x, ~PADDING))
    np.testing.assert_array_equal(rows[5:], np.zeros([59, 5]))
    back = ops.unpack(rows, layout, tf.constant([3, 3]))
    np.testing.assert_array_equal(back, tf.where(PADDING[..., None], tf.zeros_like(x), x))


def test_nan_at_padding_stays_outside():
    x = tf.where(PADDING[..., None], np.nan, tf.ones([3, 3, 4]))
    (layout,) = ops.pack_layouts([PADDING])
    rows = ops.pack(x, layout)
    assert np.isfinite(rows.numpy()).all()
    assert np.isfinite(ops.unpack(rows, layout, tf.constant([3, 3])).numpy()).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients(dtype):
    x = tf.constant(np.random.default_rng(0).normal(size=[3, 3, 5]), dtype)
    (layout,) = ops.pack_layouts([PADDING])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        rows = ops.pack(x, layout)
        back = ops.unpack(rows, layout, tf.constant([3, 3]))
    factor = tf.reshape(tf.range(64 * 5, dtype=tf.float32), [64, 5])
    gradient = tape.gradient(rows, x, tf.cast(factor, dtype))
    expected = np.zeros([3, 3, 5], np.float32)
    expected[~PADDING] = factor[:5]
    np.testing.assert_array_equal(tf.cast(gradient, tf.float32), expected)

    gradient = tape.gradient(back, rows, tf.ones_like(back))
    expected = np.zeros([64, 5])
    expected[:5] = 1.0
    np.testing.assert_array_equal(tf.cast(gradient, tf.float32), expected)
    assert gradient.dtype == x.dtype


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    padding=hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=30)),
    width=st.integers(1, 40),
)
def test_round_trip(padding, width):
    x = tf.random.normal([*padding.shape, width])
    (layout,) = ops.pack_layouts([padding])
    back = ops.unpack(ops.pack(x, layout), layout, tf.constant(padding.shape))
    np.testing.assert_array_equal(back, np.where(padding[..., None], 0.0, x))


def test_static_shapes():
    @tf.function(input_signature=[tf.TensorSpec([4, None, 8]), tf.TensorSpec([4, None], tf.bool)])
    def function(x, padding):
        (layout,) = ops.pack_layouts([padding])
        assert layout.offsets.shape.as_list() == [5]
        assert layout.lengths.shape.as_list() == [4]
        assert layout.indices.shape.as_list() == [None]
        rows = ops.pack(x, layout)
        assert rows.shape.as_list() == [None, 8]
        back = ops.unpack(rows, layout, tf.constant([4, 6]))
        assert back.shape.as_list() == [4, 6, 8]
        return back

    function(tf.zeros([4, 6, 8]), tf.zeros([4, 6], tf.bool))


# Bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda p: ops.pack_layouts([p]), ops.dense_layout])
class TestBadPadding:
    @pytest.mark.parametrize("shape", [[3], [3, 4, 5], []])
    def test_rank(self, make, shape):
        with pytest.raises(BadInput, match="padding"):
            make(tf.zeros(shape, tf.bool))

    def test_nan(self, make):
        with pytest.raises(BadInput, match=r"(?i)nan"):
            make(tf.constant([[0.0, float("nan")]]))

    def test_dtype(self, make):
        with pytest.raises(BadDtype):
            make(tf.constant([["a"]]))


@pytest.mark.parametrize("row", [[1, 0, 0], [0, 1, 0], [1, 0, 1]], ids=str)
def test_dense_layout_with_padding_before_a_token(row):
    with pytest.raises(BadInput, match="must come last"):
        ops.dense_layout(tf.constant([[0, 0, 1], row]))


def test_no_padding_at_all():
    with pytest.raises(BadDtype):
        ops.pack_layouts([])


def layout():
    return ops.pack_layouts([PADDING])[0]


@pytest.mark.parametrize("shape", [[3, 3], [9, 8, 1, 1], []], ids=str)
def test_bad_rank_for_pack(shape):
    with pytest.raises(BadInput):
        ops.pack(tf.zeros(shape), layout())


def test_pack_of_a_batch_smaller_than_its_layout():
    with pytest.raises(BadInput):
        ops.pack(tf.zeros([2, 3, 4]), layout())


@pytest.mark.parametrize("shape", [[64], [64, 2, 2], [128, 4], [5, 4]], ids=str)
def test_bad_rows_for_unpack(shape):
    with pytest.raises(BadInput):
        ops.unpack(tf.zeros(shape), layout(), tf.constant([3, 3]))


@pytest.mark.parametrize("size", [[2, 3], [3, -1], [3], [3, 3, 1]], ids=str)
def test_bad_batch_and_length_for_unpack(size):
    with pytest.raises(BadInput):
        ops.unpack(tf.zeros([64, 4]), layout(), tf.constant(size))


@pytest.mark.parametrize("index", [9, 1000000, -2])
def test_index_outside_the_batch(index):
    indices = tf.tensor_scatter_nd_update(layout().indices, [[0]], [index])
    bad = layout()._replace(indices=indices)
    with pytest.raises(BadInput):
        ops.pack(tf.zeros([3, 3, 4]), bad)
    with pytest.raises(BadInput):
        ops.unpack(tf.zeros([64, 4]), bad, tf.constant([3, 3]))
