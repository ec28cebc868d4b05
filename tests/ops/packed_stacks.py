"""What tests of packed encoders and decoders have in common."""

import dataclasses
import gc
import subprocess
import sys

import tensorflow as tf


def as_variables(stack):
    """A stack of tensors, each weight a variable."""

    def convert(value):
        if isinstance(value, (list, tuple)):
            return [convert(part) for part in value]
        return tf.Variable(value) if tf.is_tensor(value) else value

    fields = [field.name for field in dataclasses.fields(stack)]
    return type(stack)(**{name: convert(getattr(stack, name)) for name in fields})


def _resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def bytes_that_stay(make):
    """How much more memory is in use after packing and making several times what `make` makes."""
    packed = make()
    packed.pack()  # the new weights beside the old ones: what there is at most
    # TensorFlow keeps memory that was freed, and gives it to who asks for some next.
    before = _resident_bytes()
    for _ in range(4):
        packed.pack()
    del packed
    for _ in range(4):
        make()
        gc.collect()
    return _resident_bytes() - before


_SESSION = """
import tf_ls
import tensorflow as tf
tf.config.experimental.enable_tensor_float_32_execution(False)
tf1 = tf.compat.v1
with tf1.Session(graph=tf.Graph()) as session:
    model = tf1.saved_model.loader.load(session, ["serve"], {path!r})
    signature = model.signature_def[{signature!r}]
    feeds = {{signature.inputs[name].name: value for name, value in {inputs}.items()}}
    result = session.run(signature.outputs[{output!r}].name, feeds)
    assert (result == session.run(signature.outputs[{output!r}].name, feeds)).all()
    print(result.tolist())
"""
_LOADED = """
import tf_ls
import tensorflow as tf
tf.config.experimental.enable_tensor_float_32_execution(False)
loaded = tf.saved_model.load({path!r})
function = loaded.signatures[{signature!r}]
types = {{spec.name: spec.dtype for spec in function.structured_input_signature[1].values()}}
inputs = {{name: tf.constant(value, types[name]) for name, value in {inputs}.items()}}
print(function(**inputs)[{output!r}].numpy().tolist())
device = loaded.{packed}._packed.resource_handle.device
assert bool(tf.config.list_physical_devices("GPU")) == ("GPU" in device), device
"""
LOADERS = {"loaded": _LOADED, "session": _SESSION}


def in_a_fresh_process(loader, path, packed, signature, output, inputs):
    """What a process prints that loads a SavedModel and calls a signature.

    Args:
        loader: one of LOADERS.
        path: of the SavedModel.
        packed: the name of what is packed in it.
        signature, output: their names.
        inputs: tensors by name.
    """
    code = LOADERS[loader].format(
        path=path,
        packed=packed,
        signature=signature,
        output=output,
        inputs={name: value.numpy().tolist() for name, value in inputs.items()},
    )
    process = subprocess.run(
        [sys.executable, "-c", code], cwd="/", capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()
