"""tf_ls.testing.check: passes what is right, and names what is wrong."""

import re

import numpy as np
import pytest
import tensorflow as tf
from my_cases import case, gated, gated_numpy, make_inputs, not_a_number, wrong_gradient

from tf_ls.testing import Case, check, run
from tf_ls.testing.sample import compare


def failure(broken: Case, **options) -> str:
    with pytest.raises(AssertionError) as raised:
        check(broken, **options)
    return str(raised.value)


# What is right -----------------------------------------------------------------------------------


def test_right_operation():
    results = check(case())
    assert [(r.dtype, r.device) for r in results][:3] == [
        ("float32", "CPU"),
        ("bfloat16", "CPU"),
        ("float16", "CPU"),
    ]
    for result in results:
        assert len(result.samples) == 10
        for sample in result.samples:
            assert sample.forward_error <= result.case.tolerances[result.dtype]
            assert sample.gradient_error <= result.case.tolerances[result.dtype]
    assert results[1].samples[0].forward_error > 1e-4  # rounded to bfloat16, it cannot be exact


def test_reference_in_numpy():
    check(case(reference=gated_numpy, gradient_reference=gated))
    check(case(reference=gated_numpy, gradients=False))


def test_several_outputs():
    def both(x, gain):
        return {"tanh": tf.tanh(x), "gated": gated(x, gain), "shape": tf.shape(x)}

    check(case(operation=both, reference=both))


def test_constants_have_no_gradient():
    def operation(x, gain):
        return gated(x, tf.stop_gradient(gain))

    check(case(operation=operation, constants=["gain"]))
    assert "gradient of gain is None" in failure(case(operation=operation), dtypes=["float32"])


def test_outputs_of_another_dtype():
    def operation(x, gain):
        return tf.cast(gated(x, gain), tf.float32)

    check(case(operation=operation, output_dtype="float32"))


def test_inputs_that_are_no_tensors_and_lists_of_them():
    def inputs(rng, dtype):
        return {"parts": [rng.normal(size=[3]), rng.normal(size=[3])], "power": 3, "label": "a"}

    def operation(parts, power, label):
        return parts[0] ** power + parts[1]

    check(case(make_inputs=inputs, operation=operation, reference=operation))


def test_sparse_gradients_are_added_up():
    def inputs(rng, dtype):
        return {"table": rng.normal(size=[5, 3]), "ids": np.array([1, 4, 1], np.int32)}

    def one_hot(table, ids):
        return tf.matmul(tf.one_hot(ids, 5, dtype=table.dtype), table)

    check(
        case(
            make_inputs=inputs,
            operation=lambda table, ids: tf.gather(table, ids),
            reference=one_hot,
        )
    )


def test_infinities_that_the_reference_has():
    def operation(x, gain):
        return tf.math.log(tf.maximum(x, 0.0))

    def wrong(x, gain):
        return tf.maximum(operation(x, gain), -1.0)

    options = {"reference": operation, "gradients": False}
    check(case(operation=operation, **options))
    assert "differs where the reference is not finite" in failure(case(operation=wrong, **options))


def test_prepared_inputs():
    def prepare(inputs):
        return {**inputs, "x": tf.Variable(inputs["x"])}

    def operation(x, gain):
        x.assign_add(tf.ones_like(x))
        return gain * tf.tanh(x.read_value())

    def reference(x, gain):
        return gain * tf.tanh(x + 1.0)

    changes = {"operation": operation, "reference": reference, "prepare": prepare}
    check(case(**changes, gradients=False, dtypes=["float32"]))


# What is wrong -----------------------------------------------------------------------------------


def test_wrong_value():
    message = failure(case(operation=lambda x, gain: 1.001 * gated(x, gain)), dtypes=["float32"])
    assert message.startswith(
        "FAILED gated, float32, CPU, seed 0\n    output: relative error 0.001"
    )
    assert "more than 1e-05" in message
    assert "inputs: x [" in message
    assert "gain [" in message


def test_wrong_values_within_the_tolerance_of_half_precision():
    scaled = case(operation=lambda x, gain: 1.001 * gated(x, gain), dtypes=["bfloat16"])
    check(scaled)
    strict = case(operation=scaled.operation, dtypes=["bfloat16"], tolerances={"bfloat16": 1e-4})
    assert "more than 0.0001" in failure(strict)


def test_wrong_gradient():
    message = failure(case(operation=wrong_gradient), dtypes=["float32"])
    assert "gradient of gain: relative error 0.1" in message
    assert "output" not in message
    assert "gradient of x" not in message


def test_gradient_of_a_part():
    def operation(parts):
        return tf.add_n([parts[0], 2.0 * tf.stop_gradient(parts[1])])

    def reference(parts):
        return parts[0] + 2.0 * parts[1]

    def inputs(rng, dtype):
        return {"parts": [rng.normal(size=[3]), rng.normal(size=[3])]}

    message = failure(case(make_inputs=inputs, operation=operation, reference=reference))
    assert "gradient of parts[1] is None" in message
    assert "parts[0]" not in message


def test_nan():
    message = failure(case(operation=not_a_number))
    assert "numbers are not finite" in message


def test_nan_in_a_gradient():
    def operation(x, gain):
        return gated(x, gain) + tf.norm(0.0 * x, axis=-1, keepdims=True)  # 0 / 0 in its gradient

    message = failure(case(operation=operation), dtypes=["float32"])
    assert "gradient of x: " in message
    assert "numbers are not finite" in message
    assert "output" not in message


def test_wrong_shape():
    message = failure(case(operation=lambda x, gain: gated(x, gain)[None]), samples=1)
    assert "output has shape [1, " in message


def test_wrong_dtype():
    def operation(x, gain):
        return tf.cast(gated(x, gain), tf.float32)

    message = failure(case(operation=operation))
    assert "output is of dtype float32, not bfloat16" in message
    assert "FAILED gated, float32" not in message


def test_wrong_integers():
    def operation(x, gain):
        return tf.argmax(x, -1)

    def smallest(x, gain):
        return tf.argmin(x, -1)

    def narrow(x, gain):
        return tf.argmax(x, -1, output_type=tf.int32)

    wrong = case(operation=operation, reference=smallest, gradients=False)
    assert "places" in failure(wrong)
    dtype = case(operation=operation, reference=narrow, gradients=False)
    assert "output is of dtype int64, not int32" in failure(dtype)


def test_missing_output():
    message = failure(case(operation=lambda x, gain: (gated(x, gain), x)))
    assert "returned 2 tensors, the reference 1" in message


def test_output_that_is_no_tensor():
    assert "output is no tensor but a int" in failure(case(operation=lambda x, gain: 3))


def test_name_of_a_wrong_output():
    def operation(x, gain):
        return {"tanh": tf.tanh(x), "gated": x}

    def reference(x, gain):
        return {"tanh": tf.tanh(x), "gated": gated(x, gain)}

    message = failure(case(operation=operation, reference=reference), dtypes=["float32"])
    assert "output['gated']: relative error" in message
    assert "output['tanh']" not in message


@pytest.mark.parametrize("part", ["make_inputs", "operation", "reference"])
def test_exception(part):
    def broken(*_, **__):
        raise RuntimeError("out of luck\nand more")

    message = failure(case(**{part: broken}))
    what = part if part == "make_inputs" else f"the {part}"
    assert f"{what} raised RuntimeError: out of luck\n" in message


def test_reference_without_gradients():
    assert "give a gradient_reference" in failure(case(reference=gated_numpy))


def test_nothing_to_differentiate():
    wrong = case(operation=lambda x, gain: tf.shape(x), reference=lambda x, gain: tf.shape(x))
    assert "set gradients=False" in failure(wrong)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_operation_that_runs_on_another_device():
    (wrong,) = compare(case(), "float32", "GPU", 0).failures  # TensorFlow takes the CPU silently
    assert re.fullmatch(r"output was computed on .*CPU:0, not on the GPU", wrong)


# Seeds -------------------------------------------------------------------------------------------


def test_same_seed_same_sample():
    first, again, other = (compare(case(), "float32", "CPU", seed) for seed in (3, 3, 4))
    assert first == again
    assert first.inputs != other.inputs


def test_shapes_are_the_same_in_all_dtypes():
    shapes = [[s.inputs for s in result.samples] for result in run([case()], samples=5)]
    assert shapes[0] == shapes[1] == shapes[2]


def test_seed_of_a_failure_shows_it_again():
    def operation(x, gain):  # wrong for some shapes only
        return gated(x, gain) * (1.5 if x.shape[-1] % 4 == 0 else 1.0)

    broken = case(operation=operation, dtypes=["float32"])
    message = failure(broken, samples=20)
    seeds = [int(line.rsplit(" ", 1)[1]) for line in message.splitlines() if line[:6] == "FAILED"]
    assert 0 < len(seeds) < 20
    again = failure(broken, samples=1, seed=seeds[-1])
    assert again == message[message.rindex("FAILED") :]


def test_operation_that_draws_numbers_repeats():
    def operation(x, gain):
        return x + tf.cast(tf.random.normal(x.shape), x.dtype)

    first, again = (
        compare(case(operation=operation), "float32", "CPU", 3).forward_error for _ in range(2)
    )
    assert first == again > 0.0


def test_random_shapes_have_empty_ones_and_ones_of_length_one():
    drawn = [make_inputs(np.random.default_rng(seed), "float32")["x"].shape for seed in range(10)]
    assert any(0 in shape for shape in drawn)
    assert any(shape[:2] == (1, 1) for shape in drawn)


# Descriptions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "two words"}, "one word"),
        ({"name": ""}, "one word"),
        ({"operation": 3}, "operation of case gated must be a function"),
        ({"dtypes": "float32"}, "must be a list of names"),
        ({"dtypes": []}, "must have a dtype"),
        ({"dtypes": ["float31"]}, "unknown dtype, 'float31'"),
        ({"dtypes": ["float64"]}, "no tolerance for float64"),
        ({"devices": ["TPU"]}, "CPU or GPU"),
    ],
    ids=str,
)
def test_description_that_makes_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        case(**changes)


def test_a_dtype_of_ones_own():
    check(case(dtypes=["float64"], tolerances={"float64": 1e-14}))


def test_inputs_must_be_a_dict():
    assert "make_inputs raised TypeError: must return a dict of arguments, got list" in failure(
        case(make_inputs=lambda rng, dtype: [rng.normal(size=[3])])
    )


def test_nothing_to_run():
    with pytest.raises(ValueError, match="nothing to run: gated has dtypes float32, bfloat16"):
        check(case(), dtypes=["float64"])
    with pytest.raises(ValueError, match="nothing to run: gated is not for the GPU"):
        check(case(devices=["CPU"]), devices=["GPU"])
    with pytest.raises(ValueError, match="unknown: nonsense; there are encoder_layer"):
        check("nonsense")


def test_kernels_that_a_device_lacks():
    assert not run([case(kernels=["Tanh"])], devices=["CPU"])[0].skipped
    (result, *_) = run([case(kernels=["NcclAllReduce"])], devices=["CPU"])
    assert result.skipped == "has no kernel on the CPU: NcclAllReduce"
    with pytest.raises(ValueError, match="TensorFlow has no operation NoSuchThing"):
        run([case(kernels=["NoSuchThing"])])
