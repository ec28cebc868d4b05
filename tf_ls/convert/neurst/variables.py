"""The variables of a checkpoint of NeurST's by their names, without the model's own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tf_ls.convert.checkpoint import Checkpoint
from tf_ls.convert.error import ConversionError

_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_NAME = "ckpt-0"


def open_newest(folder: Path) -> Checkpoint:
    """Opens the newest checkpoint of a folder.

    Raises:
        ConversionError: there is none, or it cannot be read.
    """
    import tensorflow as tf

    path = tf.train.latest_checkpoint(str(folder))
    if path is None:
        raise ConversionError("there is no checkpoint")
    try:
        reader = tf.train.load_checkpoint(path)
        keys = list(reader.get_variable_to_shape_map())
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise ConversionError(f"{path} cannot be read: {error}") from error
    variables = {}
    for key in keys:
        if key.endswith(_SUFFIX):
            name = key[: -len(_SUFFIX)].replace(".S", "/")
            # Training counts its checkpoints, in a variable of no model.
            if own_name(name):
                variables[own_name(name)] = functools.partial(_read, reader, key)
    return Checkpoint(variables)


def own_name(name: str) -> str:
    """Returns a variable's name without its model's, which is another wherever it is built."""
    return name.partition("/")[2]


def write(variables: Mapping[str, np.ndarray], folder: Path, scope: str) -> None:
    """Writes a checkpoint as NeurST does: keyed by the variables' names."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        named = {f"{scope}/{name}": tf.Variable(array) for name, array in variables.items()}
    tf.train.Checkpoint(**named).write(str(folder / _NAME))
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "{_NAME}"\nall_model_checkpoint_paths: "{_NAME}"\n'
    )


def _read(reader, key: str) -> np.ndarray:
    return np.asarray(reader.get_tensor(key))
