"""ops.adam against float64 NumPy; tests/optimizers holds it against Keras' Adam."""

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadInput

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.comparison import assert_close, relative_error

LEARNING_RATE, BETA_1, BETA_2, EPSILON = 0.01, 0.9, 0.98, 1e-6
INFINITY = float("inf")
SHAPES = [(7,), (33, 5), (), (0, 4), (120, 96), (3, 2, 5)]


class State:
    """Variables with their moments, and the same in NumPy's float64."""

    def __init__(self, shapes, weight_decay=0.0):
        self.rng = np.random.default_rng(0)
        self.exact = [self.rng.normal(size=shape).astype(np.float32) for shape in shapes]
        self.exact_m, self.exact_v = ([np.zeros(shape) for shape in shapes] for _ in range(2))
        self.variables = [tf.Variable(x) for x in self.exact]
        self.m, self.v = ([tf.Variable(tf.zeros(shape)) for shape in shapes] for _ in range(2))
        self.weight_decay = np.broadcast_to(weight_decay, len(shapes))
        self.steps = 0

    def step(self, gradients, **options):
        """One step of the operation, which `options` change, and of NumPy, which they do not."""
        result = self.step_operation(gradients, **options)
        self.step_exactly(gradients)
        return result

    def step_operation(self, gradients, **options):
        self.steps += 1
        return ops.adam(
            *(self.variables, self.m, self.v, gradients),
            learning_rate=LEARNING_RATE,
            beta_1=BETA_1,
            beta_2=BETA_2,
            beta_1_power=BETA_1**self.steps,
            beta_2_power=BETA_2**self.steps,
            epsilon=EPSILON,
            weight_decay=self.weight_decay,
            **options,
        )

    def step_exactly(self, gradients):
        for i, gradient in enumerate(map(dense, gradients)):
            self.exact[i], self.exact_m[i], self.exact_v[i] = reference.adam(
                *(self.exact[i], self.exact_m[i], self.exact_v[i], gradient),
                learning_rate=LEARNING_RATE,
                beta_1=BETA_1,
                beta_2=BETA_2,
                step=self.steps,
                epsilon=EPSILON,
                weight_decay=self.weight_decay[i],
            )

    def check(self):
        for actual, expected in (
            (self.variables, self.exact),
            (self.m, self.exact_m),
            (self.v, self.exact_v),
        ):
            for a, e in zip(actual, expected):
                assert_close(a, e, "float32")

    def values(self):
        return [x.numpy() for x in (*self.variables, *self.m, *self.v)]


def dense(gradient):
    """A gradient as float64, slices of the same index added up."""
    if not isinstance(gradient, tf.IndexedSlices):
        return np.asarray(tf.cast(gradient, tf.float64))
    result = np.zeros([int(gradient.dense_shape[0]), *gradient.values.shape[1:]])
    np.add.at(result, gradient.indices.numpy(), np.asarray(tf.cast(gradient.values, tf.float64)))
    return result


def random_gradients(state, dtype="float32", limit=1.0):
    return [tf.constant(state.rng.normal(size=x.shape) * limit, dtype) for x in state.variables]


def slices(state, shape, indices, dtype="float32", index_dtype=tf.int32):
    values = tf.constant(state.rng.normal(size=[len(indices), *shape[1:]]), dtype)
    return tf.IndexedSlices(values, tf.constant(indices, index_dtype), tf.constant(shape))


@pytest.mark.parametrize("weight_decay", [0.0, 0.1, [0.1, 0.0, 0.2, 0.3, 0.0, 0.5]], ids=str)
def test_twenty_steps(weight_decay):
    state = State(SHAPES, weight_decay)
    for _ in range(20):
        result = state.step(random_gradients(state))
        assert result.finite
    state.check()


@pytest.mark.parametrize("index_dtype", [tf.int32, tf.int64])
def test_sparse_gradients_whose_indices_repeat(index_dtype):
    state = State([(33, 5), (7,), (1000, 16), (4, 2, 3)], weight_decay=[0.1, 0.2, 0.3, 0.4])
    for _ in range(20):
        rows = state.rng.integers(0, 1000, 50).tolist()
        gradients = random_gradients(state)
        gradients[0] = slices(state, (33, 5), [32, 0, 32, 32], index_dtype=index_dtype)
        gradients[2] = slices(state, (1000, 16), [*rows, rows[0], 7, 7], index_dtype=index_dtype)
        gradients[3] = slices(state, (4, 2, 3), [], index_dtype=index_dtype)
        state.step(gradients)
    state.check()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_gradients(dtype):
    state = State([(33, 5), (50, 4), (12,)])
    for _ in range(5):
        gradients = random_gradients(state, dtype)
        gradients[1] = slices(state, (50, 4), [3, 49, 3], dtype)
        gradients[2] = tf.cast(gradients[2], tf.float32)  # they need not be all alike
        state.step(gradients)
    state.check()


def clipped(gradients, clip_value=INFINITY, clip_norm=INFINITY, clip_each=False):
    """What Keras makes of gradients: by value, then by norm."""
    gradients = [np.clip(dense(g), -clip_value, clip_value) for g in gradients]
    norms = [np.linalg.norm(g) for g in gradients]
    norm = np.linalg.norm(norms)
    factors = [min(1.0, clip_norm / (each if clip_each else norm)) for each in norms]
    return [tf.constant(g * f, tf.float64) for g, f in zip(gradients, factors)], norm


@pytest.mark.parametrize(
    "clipping",
    [
        {"clip_value": 0.3},
        {"clip_norm": 0.5},
        {"clip_norm": 1e6},
        {"clip_norm": 2.0, "clip_each": True},
        {"clip_value": 0.3, "clip_norm": 0.5},
    ],
    ids=str,
)
def test_clipping(clipping):
    state = State([(33, 5), (7,), (120, 96)])
    for _ in range(3):
        gradients = random_gradients(state)
        expected, norm = clipped(gradients, **clipping)
        result = state.step_operation(gradients, **clipping)
        state.step_exactly(expected)
        state.check()
        assert relative_error(result.norm, norm) < 1e-6


def test_norm_counts_slices_one_by_one():
    state = State([(5, 2), (3,)])
    gradients = [slices(state, (5, 2), [4, 4, 4]), tf.ones([3])]
    result = state.step(gradients)
    assert relative_error(result.norm, tf.linalg.global_norm(gradients)) < 1e-6


def test_gradient_factor():
    state = State([(33, 5)])
    scaled = random_gradients(state, limit=1024.0)
    gradients = [g / 1024.0 for g in scaled]
    result = state.step_operation(scaled, gradient_factor=1.0 / 1024.0)
    state.step_exactly(gradients)
    state.check()
    assert relative_error(result.norm, tf.linalg.global_norm(gradients)) < 1e-6


HYPERPARAMETERS = {
    "learning_rate": LEARNING_RATE,
    "beta_1": BETA_1,
    "beta_2": BETA_2,
    "beta_1_power": BETA_1,
    "beta_2_power": BETA_2,
    "epsilon": EPSILON,
}


def call(variables=None, m=None, v=None, gradients=None, **more):
    """The operation on one variable of shape [3, 4] unless told otherwise."""

    def make(given, initial):
        return [tf.Variable(initial)] if given is None else given

    variables = make(variables, tf.ones([3, 4]))
    m, v = make(m, tf.zeros([3, 4])), make(v, tf.zeros([3, 4]))
    gradients = [tf.ones([3, 4])] if gradients is None else gradients
    return ops.adam(variables, m, v, gradients, **{**HYPERPARAMETERS, **more})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["dense", "sparse"])
@pytest.mark.parametrize("clip_value", [INFINITY, 0.5])
def test_nothing_changes_if_a_gradient_is_not_finite(bad, where, clip_value):
    state = State([(33, 5), (50, 4)])
    gradients = [tf.ones([33, 5]), slices(state, (50, 4), [3, 49, 3])]
    if where == "dense":
        gradients[0] = tf.tensor_scatter_nd_update(gradients[0], [[17, 2]], [bad])
    else:
        values = tf.tensor_scatter_nd_update(gradients[1].values, [[1, 0]], [bad])
        gradients[1] = tf.IndexedSlices(values, gradients[1].indices, gradients[1].dense_shape)
    before = state.values()
    result = state.step_operation(gradients, clip_value=clip_value)
    assert not result.finite
    for after, value in zip(state.values(), before):
        np.testing.assert_array_equal(after, value)


def test_applies_what_is_not_finite_if_told_so():
    variable = tf.Variable([1.0, 1.0])
    zeros = [[tf.Variable([0.0, 0.0])] for _ in range(2)]
    result = call([variable], *zeros, [tf.constant([1.0, np.nan])], skip_nonfinite=False)
    assert not result.finite
    assert variable[0] < 1.0
    assert np.isnan(variable[1])


@pytest.mark.parametrize("read", [tf.identity, tf.convert_to_tensor, lambda x: x.read_value()])
def test_tensors_that_were_read_before_do_not_change(read):
    state = State([(120, 96), (7,)])
    before = [read(x) for x in (*state.variables, *state.m, *state.v)]
    values = [x.numpy().copy() for x in before]
    state.step(random_gradients(state))
    for tensor, value in zip(before, values):
        np.testing.assert_array_equal(tensor, value)
    state.check()


def address(variable):
    return np.frombuffer(memoryview(variable.read_value()), np.float32).ctypes.data


def test_without_readers_a_variable_stays_where_it_is(device):
    if device == "GPU":
        pytest.skip("NumPy sees a copy on the host")
    state = State([(1000,)])
    state.step(random_gradients(state))  # from now on no initial value shares a buffer
    before = [address(x) for x in (*state.variables, *state.m, *state.v)]
    state.step(random_gradients(state))
    assert [address(x) for x in (*state.variables, *state.m, *state.v)] == before


def test_updates_variables_that_were_accessed_sparsely():
    variable = tf.Variable(tf.ones([5, 2]))
    variable.scatter_add(tf.IndexedSlices(tf.ones([1, 2]), tf.constant([3])))  # copies on read now
    before = tf.identity(variable)
    call([variable], *([tf.Variable(tf.zeros([5, 2]))] for _ in range(2)), [tf.ones([5, 2])])
    assert_close(variable, before.numpy() - 0.01, "float32")


def test_in_a_function_reads_come_before_and_after():
    variable, m, v = (tf.Variable(x) for x in ([1.0], [0.0], [0.0]))

    @tf.function
    def function():
        before = variable.read_value()
        ops.adam([variable], [m], [v], [tf.ones([1])], **HYPERPARAMETERS)
        return before, variable.read_value()

    before, after = function()
    assert before == 1.0
    assert_close(after, [0.99], "float32")


def test_no_variables():
    result = ops.adam([], [], [], [], **HYPERPARAMETERS)
    assert result.finite
    assert result.norm == 0.0


def float64_variable():
    return [tf.Variable(tf.ones([3, 4], tf.float64))]


def uninitialized_variable():
    handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[3, 4], shared_name="uninitialized")

    class Uninitialized:
        pass

    variable = Uninitialized()
    variable.handle = handle
    return [variable]


def rows(shape, indices):
    return [tf.IndexedSlices(tf.ones(shape), tf.constant(indices, tf.int64))]


BAD_ARGUMENTS = {
    "gradient of another shape": lambda: {"gradients": [tf.ones([4, 3])]},
    "gradient of another rank": lambda: {"gradients": [tf.ones([12])]},
    "m of another shape": lambda: {"m": [tf.Variable(tf.zeros([3, 5]))]},
    "v of another shape": lambda: {"v": [tf.Variable(tf.zeros([12]))]},
    "float64 variable": lambda: {"variables": float64_variable()},
    "float64 m": lambda: {"m": float64_variable()},
    "variable that is not initialized": lambda: {"variables": uninitialized_variable()},
    "slices of another width": lambda: {"gradients": rows([2, 5], [0, 1])},
    "more indices than slices": lambda: {"gradients": rows([2, 4], [0, 1, 2])},
    "index beyond the end": lambda: {"gradients": rows([2, 4], [0, 3])},
    "negative index": lambda: {"gradients": rows([2, 4], [0, -1])},
    "indices of rank 2": lambda: {"gradients": rows([2, 4], [[0, 1]])},
    "slices of a scalar": lambda: {
        "variables": [tf.Variable(1.0)],
        "m": [tf.Variable(0.0)],
        "v": [tf.Variable(0.0)],
        "gradients": rows([2], [0, 0]),
    },
    "learning rate that is NaN": lambda: {"learning_rate": np.nan},
    "learning rate that is a vector": lambda: {"learning_rate": [0.1, 0.1]},
    "beta_1 of 1": lambda: {"beta_1": 1.0},
    "negative beta_2": lambda: {"beta_2": -0.1},
    "power of step 0": lambda: {"beta_1_power": 1.0},
    "power that is NaN": lambda: {"beta_2_power": np.nan},
    "negative epsilon": lambda: {"epsilon": -1e-7},
    "negative clip_value": lambda: {"clip_value": -1.0},
    "negative clip_norm": lambda: {"clip_norm": -1.0},
    "clip_norm that is NaN": lambda: {"clip_norm": np.nan},
    "infinite gradient_factor": lambda: {"gradient_factor": INFINITY},
    "weight decay for two": lambda: {"weight_decay": [0.1, 0.1]},
}


def test_good_arguments_are_good():
    assert call().finite


@pytest.mark.parametrize("name", BAD_ARGUMENTS)
def test_bad_arguments(name):
    with pytest.raises(BadInput):
        call(**BAD_ARGUMENTS[name]())


def test_a_variable_given_twice():
    variable = tf.Variable(tf.ones([3, 4]))
    m, v = ([tf.Variable(tf.zeros([3, 4])) for _ in range(2)] for _ in range(2))
    with pytest.raises(BadInput, match="given once"):
        call([variable, variable], m, v, [tf.ones([3, 4])] * 2)
    with pytest.raises(BadInput, match="given once"):
        call(m=[variable], v=[variable])


def test_bad_input_changes_nothing():
    state = State([(3, 4), (5, 2)])
    before = state.values()
    with pytest.raises(BadInput):
        ops.adam(
            *(state.variables, state.m, state.v, [tf.ones([3, 4]), *rows([1, 2], [5])]),
            **HYPERPARAMETERS,
        )
    for after, value in zip(state.values(), before):
        np.testing.assert_array_equal(after, value)


def test_lists_of_different_lengths():
    with pytest.raises(ValueError, match="equally long, got 1, 1, 1 and 2"):
        call(gradients=[tf.ones([3, 4])] * 2)


def test_shapes_are_checked_when_a_function_is_traced():
    variable, m, v = (tf.Variable(tf.zeros([3, 4])) for _ in range(3))

    @tf.function
    def function():
        call([variable], [m], [v], [tf.ones([3, 5])])

    with pytest.raises(ValueError, match="must be equal"):
        function()


def test_not_under_xla():
    variable, m, v = (tf.Variable(tf.zeros([3, 4])) for _ in range(3))
    function = tf.function(lambda: call([variable], [m], [v]), jit_compile=True)
    with pytest.raises(NotImplementedError, match=r"XLA cannot compile.*jit_compile=False"):
        function()
