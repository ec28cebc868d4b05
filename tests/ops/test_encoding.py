"""ops.encode, with an Encoder and a PackedEncoder, against the float64 reference."""

import dataclasses
import gc
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from bad_input import BadDtype, BadInput
from generation_problem import as_float32, as_tensors
from packed_stacks import LOADERS, as_variables, bytes_that_stay, in_a_fresh_process

from tf_ls import ops
from tf_ls.library import library
from tf_ls.ops.encoder import encoder_inputs
from tf_ls.testing import reference
from tf_ls.testing.comparison import relative_error
from tf_ls.testing.reference_encoder import encode

HIDDEN, FILTER, HEADS, VOCABULARY = 12, 20, 3, 11
TOLERANCES = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 2e-2}
DTYPES = tuple(TOLERANCES)

# Padding behind tokens, before them, between them; and nothing else.
PADDING = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1, 1, 1],
        [1, 1, 0, 0, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1, 1, 1],
    ],
    bool,
)
IDS = np.where(PADDING, -9, (5 * np.arange(PADDING.size).reshape(PADDING.shape) + 3) % VOCABULARY)


def encoder_of(seed=0, *, layers=2, hidden=HIDDEN, filter_size=FILTER, **structure):
    """A random encoder, of NumPy arrays."""
    rng = np.random.default_rng(seed)
    given_structure = {
        "num_heads": HEADS,
        "scale": 2.0,
        "positions": "sinusoids",
        "norm": (1.0 + 0.1 * rng.normal(size=hidden), 0.1 * rng.normal(size=hidden)),
        **structure,
    }
    return as_float32(
        ops.Encoder(
            layers=[reference.encoder_weights(rng, hidden, filter_size) for _ in range(layers)],
            table=rng.normal(size=(VOCABULARY, hidden)),
            **given_structure,
        )
    )


def norm_of(seed, hidden=HIDDEN):
    rng = np.random.default_rng(seed)
    return 1.0 + 0.1 * rng.normal(size=hidden), 0.1 * rng.normal(size=hidden)


def expected_of(encoder, ids=IDS, padding=PADDING, types=None):
    types = np.zeros_like(ids) if types is None else types
    memory = np.zeros([*ids.shape, encoder.table.shape[1]])
    for row, (sentence, gaps) in enumerate(zip(ids, padding)):
        places = np.flatnonzero(~gaps)
        memory[row, : len(places)] = encode(encoder, sentence[places], places, types[row][places])
    return memory


def run(encoder, ids=IDS, padding=PADDING, **more):
    return ops.encode(encoder, tf.constant(ids, tf.int64), tf.constant(padding), **more)


def check(encoded, expected, padding=PADDING, dtype="float32"):
    assert encoded.memory.dtype == dtype
    assert relative_error(encoded.memory.numpy(), expected) < TOLERANCES[dtype]
    np.testing.assert_array_equal(encoded.lengths, (~padding).sum(axis=1))
    for row, length in enumerate(encoded.lengths.numpy()):
        assert not encoded.memory[row, length:].numpy().any()


KINDS = [lambda encoder, dtype: encoder, ops.PackedEncoder]
both = pytest.mark.parametrize("kind", KINDS, ids=["unpacked", "packed"])


# The same numbers --------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights_dtype", DTYPES)
def test_numbers(kind, weights_dtype, dtype):
    encoder = encoder_of(embedding_norm=norm_of(8))
    tensors = as_tensors(encoder, weights_dtype)
    rounded = as_float32(
        dataclasses.replace(
            encoder,
            layers=[[w.numpy().astype(np.float64) for w in layer] for layer in tensors.layers],
            table=tensors.table.numpy().astype(np.float64),
            embedding_norm=[part.numpy().astype(np.float64) for part in tensors.embedding_norm],
            norm=[part.numpy().astype(np.float64) for part in tensors.norm],
        )
    )
    encoded = run(kind(tensors, dtype), dtype=dtype)
    check(encoded, expected_of(rounded), dtype=dtype)


@both
@pytest.mark.parametrize(
    "structure",
    [
        {"pre_norm": False, "norm": None},
        {"pre_norm": False, "norm": None, "embedding_norm": norm_of(9), "epsilon": 1e-12},
        {"embedding_norm": norm_of(9), "activation": "silu", "epsilon": 1e-5},
        {"activation": "swish"},
        {"positions": None, "layers": 1, "activation": "gelu"},
        {"positions": np.arange(7 * HIDDEN).reshape(7, HIDDEN) % 5 / 5},
        {"causal": True, "activation": "tanh", "epsilon": 1e-2},
        {"num_heads": 1, "scale": 0.5, "activation": "gelu_nonapprox"},
        {"hidden": 18, "filter_size": 7},
    ],
    ids=lambda structure: "-".join(structure),
)
def test_structures(kind, structure):
    encoder = encoder_of(1, **structure)
    check(run(kind(as_tensors(encoder), "float32")), expected_of(encoder))


@both
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (3, 0), (0, 4), (0, 0), (9, 61)])
def test_sizes(kind, shape):
    rng = np.random.default_rng(2)
    encoder = encoder_of()
    ids, padding = rng.integers(0, VOCABULARY, shape), np.zeros(shape, bool)
    encoded = run(kind(as_tensors(encoder), "float32"), ids, padding)
    assert encoded.memory.shape == (*shape, HIDDEN)
    check(encoded, expected_of(encoder, ids, padding), padding)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_rows_of_wide_layers(dtype):
    """More rows than products take at once, and weights of several slices."""
    rng = np.random.default_rng(3)
    encoder = encoder_of(3, layers=1, hidden=72, filter_size=1100, num_heads=4)
    ids, padding = rng.integers(0, VOCABULARY, (7, 50)), rng.random((7, 50)) < 0.2
    packed = ops.PackedEncoder(as_tensors(encoder), dtype)
    check(run(packed, ids, padding), expected_of(encoder, ids, padding), padding, dtype)


def test_sentences_longer_than_the_sinusoids_that_are_kept():
    encoder = encoder_of(layers=1)
    ids = np.arange(1040)[np.newaxis] % VOCABULARY
    padding = np.arange(1040)[np.newaxis] < 1030
    expected = expected_of(encoder, ids, padding)
    check(run(ops.PackedEncoder(as_tensors(encoder)), ids, padding), expected, padding)


# Token types -------------------------------------------------------------------------------------

TYPES = np.where(PADDING, -7, (IDS + np.arange(IDS.shape[1])) % 3)


def typed_encoder(token_types=3, positions=IDS.shape[1]):
    table = np.random.default_rng(4).normal(size=(token_types * positions, HIDDEN))
    return encoder_of(4, positions=table, token_types=token_types, embedding_norm=norm_of(5))


@both
@pytest.mark.parametrize("dtype", DTYPES)
def test_token_types(kind, dtype):
    encoder = typed_encoder()
    packed_or_not = kind(as_tensors(encoder), dtype)
    encoded = run(packed_or_not, types=tf.constant(TYPES, tf.int32), dtype=dtype)
    check(encoded, expected_of(encoder, types=TYPES), dtype=dtype)
    check(run(packed_or_not, dtype=dtype), expected_of(encoder), dtype=dtype)  # of type 0


@both
def test_models_without_token_types_know_type_0(kind):
    encoder = kind(as_tensors(encoder_of()), "float32")
    zeros = run(encoder, types=tf.constant(np.where(PADDING, 5, 0)))
    np.testing.assert_array_equal(zeros.memory, run(encoder).memory)
    with pytest.raises(BadInput, match=r"types must be from 0 to 0 in a model of 1 token types"):
        run(encoder, types=tf.constant(np.ones_like(IDS)))


@both
def test_a_type_has_its_share_of_the_positions(kind):
    encoder = kind(as_tensors(typed_encoder(positions=4)), "float32")
    run(encoder, IDS[:, :4], PADDING[:, :4], types=tf.constant(TYPES[:, :4]))
    with pytest.raises(BadInput, match=r"has 4 rows, but the token at \[0, 4\] has position 4"):
        run(encoder, types=tf.constant(TYPES))


@both
def test_bad_types(kind):
    encoder = kind(as_tensors(typed_encoder()), "float32")
    high, low = TYPES.copy(), TYPES.copy()
    high[2, 3], low[1, 2] = 3, -1
    for match, error, types in [
        (r"types must be from 0 to 2 in a model of 3 .* got 3 at \[2, 3\]", BadInput, high),
        (r"types must be from 0 to 2 in a model of 3 .* got -1 at \[1, 2\]", BadInput, low),
        (r"types must have shape \[5,7\], got \[5,6\]", BadInput, TYPES[:, :6]),
        (r"types must have shape \[5,7\], got \[7\]", BadInput, TYPES[0]),
        (None, BadDtype, 1.0 * TYPES),
    ]:
        with pytest.raises(error, match=match):
            run(encoder, types=tf.constant(types))
    with pytest.raises(ValueError, match=r"Dimension.* 7 and 6|shape.*7.*6"):
        tf.function(lambda: run(encoder, types=tf.constant(TYPES[:, :6])))()


@both
@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"token_types": 0}, ValueError, "token_types must be at least 1, got 0"),
        ({"token_types": 4}, BadInput, "as many rows for each of 4 token types, got 21 rows"),
        ({"positions": None}, BadInput, "each of 3 token types, got no table"),
        ({"positions": "sinusoids"}, BadInput, "each of 3 token types, got no table"),
    ],
    ids=str,
)
def test_bad_token_types(kind, changed, error, match):
    encoder = dataclasses.replace(as_tensors(typed_encoder()), **changed)
    with pytest.raises(error, match=match):
        run(kind(encoder, "float32"))
    with pytest.raises(ValueError, match=match):
        tf.function(lambda: run(kind(encoder, "float32")))()


def test_gradients_reach_all_of_an_encoder():
    """Those of the norm behind the embedding, too, and of the positions that types have."""
    encoder = as_variables(as_tensors(typed_encoder()))
    types = np.where(PADDING, 0, TYPES % 2)
    with tf.GradientTape() as tape:
        memory = run(encoder, types=tf.constant(types)).memory
    parts = (*encoder.embedding_norm, encoder.positions, encoder.table)
    *norm, positions, table = tape.gradient(memory, parts, tf.constant(memory.numpy()))
    assert all(np.abs(gradient).max() > 0 for gradient in (*norm, tf.convert_to_tensor(table)))
    rows = (types * IDS.shape[1] + np.arange(IDS.shape[1]))[~PADDING]
    assert set(np.flatnonzero(np.abs(positions).max(axis=1))) == set(rows)


# One sentence and many ---------------------------------------------------------------------------


def test_a_sentence_alone_is_what_it_is_among_others():
    packed = ops.PackedEncoder(as_tensors(encoder_of()))
    together = run(packed).memory
    for row, length in enumerate((~PADDING).sum(axis=1)):
        alone = run(packed, IDS[row : row + 1], PADDING[row : row + 1]).memory
        np.testing.assert_allclose(alone[0, :length], together[row, :length], rtol=0, atol=2e-6)


def test_ids_of_any_integers_in_a_function():
    packed = ops.PackedEncoder(as_tensors(encoder_of()))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, None], tf.bool),
        ]
    )
    def function(ids, padding):
        encoded = ops.encode(packed, ids, padding)
        assert encoded.memory.shape.rank == 3
        assert encoded.memory.shape[2] == HIDDEN
        return encoded

    check(function(tf.constant(IDS, tf.int32), tf.constant(PADDING)), expected_of(encoder_of()))


# Shapes that come again (a GPU makes their launches at once) -------------------------------------


def batch_of(seed, shape):
    rng = np.random.default_rng(seed)
    return rng.integers(0, VOCABULARY, shape), rng.random(shape) < 0.3


def results_of(packed, batches):
    return [run(packed, *batch).memory.numpy() for batch in batches]


@pytest.mark.parametrize("dtype", DTYPES)
def test_shapes_that_come_again(dtype):
    """Other sentences of the same shape, other shapes in between, larger and smaller ones."""
    encoder = encoder_of(5, hidden=16, num_heads=2)
    packed = ops.PackedEncoder(as_tensors(encoder), dtype)
    shapes = [(3, 5), (1, 9), (3, 5), (40, 11), (3, 5), (2, 0)]
    batches = [batch_of(seed, shape) for seed, shape in enumerate(shapes)]
    first = results_of(packed, batches)
    for (ids, padding), memory in zip(batches, first):
        assert relative_error(memory, expected_of(encoder, ids, padding)) < TOLERANCES[dtype]
    for order in (batches, batches, batches[::-1]):
        again = results_of(packed, order)
        for memory, expected in zip(again, first if order is batches else first[::-1]):
            np.testing.assert_array_equal(memory, expected)


def test_long_sentences_that_come_again():
    """Between others that have as many rows, by sinusoids that are made in each call."""
    encoder = encoder_of(layers=1)
    packed = ops.PackedEncoder(as_tensors(encoder))
    batches = [batch_of(seed, (1, length)) for seed, length in enumerate((1500, 1040, 1045, 1030))]
    first = results_of(packed, batches)
    expected = expected_of(encoder, *batches[0])
    assert relative_error(first[0], expected) < TOLERANCES["float32"]
    for _ in range(3):
        for memory, before in zip(results_of(packed, batches), first):
            np.testing.assert_array_equal(memory, before)


def test_more_shapes_than_are_remembered():
    packed = ops.PackedEncoder(as_tensors(encoder_of(layers=1)))
    batches = [batch_of(sentences, (sentences, 2)) for sentences in range(1, 150)]
    first = results_of(packed, batches)
    for places in (slice(None), slice(None), slice(100), slice(100)):
        for memory, expected in zip(results_of(packed, batches[places]), first[places]):
            np.testing.assert_array_equal(memory, expected)


def test_shapes_that_come_again_in_threads():
    packed = ops.PackedEncoder(as_tensors(encoder_of()))
    shapes = [(3, 5), (3, 5), (20, 9), (1, 4)]
    batches = [batch_of(seed, shape) for seed, shape in enumerate(shapes)]
    expected = results_of(packed, batches)
    seen = [[] for _ in batches]

    def call(place):
        for _ in range(30):
            seen[place] += results_of(packed, [batches[place]])

    threads = [threading.Thread(target=call, args=[place]) for place in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for memories, wanted in zip(seen, expected):
        assert len(memories) == 30
        for memory in memories:
            np.testing.assert_array_equal(memory, wanted)


def test_an_encoder_may_go_while_it_runs():
    batch = batch_of(6, (30, 20))
    expected = results_of(ops.PackedEncoder(as_tensors(encoder_of())), [batch])[0]
    memories = []
    for _ in range(5):
        packed = ops.PackedEncoder(as_tensors(encoder_of()))
        memories += [run(packed, *batch).memory for _ in range(4)]
        del packed
    for memory in memories:
        np.testing.assert_array_equal(memory, expected)


# Packing again -----------------------------------------------------------------------------------


def test_weights_are_copied_until_they_are_packed_again():
    encoder = as_variables(as_tensors(encoder_of()))
    packed = ops.PackedEncoder(encoder)
    before = run(packed).memory
    for variable in packed.variables:
        variable.assign(1.1 * variable)
    np.testing.assert_array_equal(run(packed).memory, before)
    packed.pack()
    after = run(packed).memory
    assert not np.array_equal(before, after)
    assert relative_error(after.numpy(), run(encoder).memory.numpy()) < 1e-5


def test_calls_while_it_is_packed_use_the_old_weights_or_the_new_ones():
    encoder = as_variables(as_tensors(encoder_of()))
    packed = ops.PackedEncoder(encoder)
    kernel = encoder.layers[0][2].numpy()
    seen, errors = [], []
    go_on = threading.Event()

    def call():
        try:
            while not go_on.is_set():
                seen.append(run(packed).memory.numpy().tobytes())
        except tf.errors.OpError as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    expected = {run(packed).memory.numpy().tobytes()}
    for thread in threads:
        thread.start()
    for i in range(20):
        encoder.layers[0][2].assign((1.0 + 0.1 * (i % 5)) * kernel)
        packed.pack()
        expected.add(run(packed).memory.numpy().tobytes())
    go_on.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert set(seen) <= expected
    assert len(set(seen)) > 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_freed():
    rng = np.random.default_rng(0)
    layer = [tf.constant(w, tf.float32) for w in reference.encoder_weights(rng, 1024, 4096)]
    table = tf.zeros([VOCABULARY, 1024])
    encoder = ops.Encoder(layers=[layer], table=table, num_heads=8)
    size = 4 * sum(np.prod(weight.shape) for weight in layer)
    assert bytes_that_stay(lambda: ops.PackedEncoder(encoder)) < 0.5 * size


def test_a_function_keeps_the_weights_that_it_uses():
    def function():
        packed = ops.PackedEncoder(as_tensors(encoder_of()))
        assert packed.resource_handle is not None
        return tf.function(lambda: run(packed)).get_concrete_function()

    call = function()
    gc.collect()
    check(call(), expected_of(encoder_of()))


# SavedModels -------------------------------------------------------------------------------------


class Module(tf.Module):
    def __init__(self, encoder, dtype):
        super().__init__()
        self.encoder = ops.PackedEncoder(encoder, dtype)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int64, "ids"),
            tf.TensorSpec([None, None], tf.bool, "padding"),
        ]
    )
    def encode(self, ids, padding):
        encoded = ops.encode(self.encoder, ids, padding)
        return {"memory": tf.cast(encoded.memory, tf.float32), "lengths": encoded.lengths}


INPUTS = {"ids": tf.constant(IDS, tf.int64), "padding": tf.constant(PADDING)}


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def saved(request, tmp_path_factory):
    """The path of a SavedModel, and what it encodes."""
    path = str(tmp_path_factory.mktemp("saved"))
    module = Module(as_variables(as_tensors(encoder_of(), request.param)), request.param)
    tf.saved_model.save(module, path, signatures={"encode": module.encode})
    return path, module.encode(**INPUTS)["memory"].numpy()


def test_a_saved_model_packs_when_it_is_loaded(saved):
    path, expected = saved
    loaded = tf.saved_model.load(path)
    assert len(loaded.encoder._weights) == 27
    for function in (loaded.encode, loaded.signatures["encode"]):
        np.testing.assert_array_equal(function(**INPUTS)["memory"], expected)


def test_signatures_without_the_rest_of_the_model(saved):
    path, expected = saved
    function = tf.saved_model.load(path).signatures["encode"]
    gc.collect()
    np.testing.assert_array_equal(function(**INPUTS)["memory"], expected)


def test_two_loads_have_their_own_weights(saved):
    path, expected = saved
    first, second = tf.saved_model.load(path), tf.saved_model.load(path)
    for variable in second.encoder._weights:
        variable.assign(tf.zeros_like(variable))
    second.encoder._packed._initialize()
    np.testing.assert_array_equal(first.encode(**INPUTS)["memory"], expected)
    assert not np.array_equal(second.encode(**INPUTS)["memory"], expected)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_fresh_process(saved, loader):
    path, expected = saved
    printed = in_a_fresh_process(loader, path, "encoder", "encode", "memory", INPUTS)
    assert printed == str(expected.tolist())


# Bad input ---------------------------------------------------------------------------------------


def bad_encoder(match=None, error=BadInput, **changed):
    encoder = dataclasses.replace(as_tensors(encoder_of()), **changed)
    with pytest.raises(error, match=match):
        ops.PackedEncoder(encoder)


def test_bad_encoders():
    layers = as_tensors(encoder_of()).layers
    bad_encoder("at least one layer", layers=[], error=ValueError)
    bad_encoder("sinusoids", positions="sines", error=ValueError)
    bad_encoder("activation", activation="mish", error=ValueError)
    bad_encoder("num_heads", num_heads=0, error=ValueError)
    bad_encoder(
        "expected 12 weights of each of 2 layers, got 23", layers=[layers[0], layers[1][:-1]]
    )
    bad_encoder("layer 1 ", layers=[layers[0], [tf.zeros([3])] * 12])
    bad_encoder("heads", num_heads=5)
    bad_encoder("epsilon must be positive", epsilon=0.0)
    bad_encoder("table must have rank 2", table=tf.zeros([VOCABULARY]))
    bad_encoder("norm", norm=(tf.zeros([HIDDEN]), tf.zeros([HIDDEN + 1])))
    bad_encoder("gamma and beta", norm=(tf.zeros([HIDDEN]),))
    bad_encoder(
        r"embedding_norm must have shape \[12\], got \[13\]",
        embedding_norm=(tf.zeros([HIDDEN]), tf.zeros([HIDDEN + 1])),
    )
    bad_encoder("embedding_norm must be a list of gamma", embedding_norm=(tf.zeros([HIDDEN]),))
    bad_encoder("positions", positions=tf.zeros([9, HIDDEN + 1]))


@both
def test_bad_calls(kind):
    tensors = as_tensors(encoder_of())
    encoder = kind(tensors, "float32")
    short = kind(dataclasses.replace(tensors, positions=tf.zeros([4, HIDDEN])), "float32")
    high, low = IDS.copy(), IDS.copy()
    high[2, 3], low[1, 2] = VOCABULARY, -1
    for match, error, call in [
        (r"ids must be from 0 to 10 .* got 11 at \[2, 3\]", BadInput, lambda: run(encoder, high)),
        (r"ids must be from 0 to 10 .* got -1 at \[1, 2\]", BadInput, lambda: run(encoder, low)),
        (
            r"the table of positions has 4 rows, but the token at \[0, 4\] has position 4",
            BadInput,
            lambda: run(short),
        ),
        (None, BadInput, lambda: run(encoder, IDS[0])),
        (None, BadInput, lambda: run(encoder, IDS, PADDING[0])),
        (None, BadDtype, lambda: ops.encode(encoder, tf.constant(1.0 * IDS), tf.constant(PADDING))),
    ]:
        with pytest.raises(error, match=match):
            call()
    # Up to the last row of the table, wherever padding ends.
    run(short, IDS[:, :4], PADDING[:, :4])
    run(short, IDS[1:2], PADDING[1:2])


def test_bad_calls_of_packed_encoders():
    packed = ops.PackedEncoder(as_tensors(encoder_of()))
    with pytest.raises(BadInput, match="packed for float, not for bfloat16"):
        run(packed, dtype="bfloat16")
    with pytest.raises(BadInput, match=r"padding must have shape \[5,7\], got \[5,6\]"):
        run(packed, padding=PADDING[:, :6])
    with pytest.raises(BadInput, match="ids must have rank 2"):
        run(packed, IDS[0])
    with pytest.raises(ValueError, match="Dimension"):
        tf.function(lambda: run(packed, padding=PADDING[:, :6]))()


def test_bad_handles():
    encoder = as_tensors(encoder_of())
    inputs = {"ids": INPUTS["ids"], "padding": INPUTS["padding"], "types": [], "T": tf.float32}
    for handle in (
        library.ops.ls_anonymous_packed_encoder(),
        library.ops.ls_packed_encoder_handle(shared_name="nothing"),
        library.ops.ls_anonymous_packed_decoder(),
        tf.Variable(1.0).handle,
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="has no packed encoder"):
            library.ops.ls_encode_packed(encoder=handle, **inputs)
    for handle in (library.ops.ls_anonymous_packed_decoder(), tf.Variable(1.0).handle):
        with pytest.raises(tf.errors.InvalidArgumentError):
            library.ops.ls_pack_encoder(handle=handle, T=tf.float32, **encoder_inputs(encoder))


def test_it_has_no_gradient():
    packed = ops.PackedEncoder(as_variables(as_tensors(encoder_of())))
    with tf.GradientTape() as tape:
        memory = run(packed).memory
    assert tape.gradient(memory, packed.variables[0]) is None


@pytest.mark.gpu
def test_it_is_packed_where_operations_run():
    """Unless told otherwise on the GPU: TensorFlow would make a resource of its own on the CPU."""
    encoder = as_tensors(encoder_of())
    with tf.device(None):
        assert ops.PackedEncoder(encoder).resource_handle.device.endswith("GPU:0")
    with tf.device("/device:CPU:0"):
        assert ops.PackedEncoder(encoder).resource_handle.device.endswith("CPU:0")
