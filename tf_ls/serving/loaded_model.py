"""A SavedModel that is loaded: its signatures as functions of arrays."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

import tf_ls
from tf_ls.inference.cancellation import Cancellation, call
from tf_ls.serving.errors import ServingError, internal, invalid, operation_message

log = logging.getLogger(__name__)

DEFAULT_SIGNATURE = "serving_default"
FILES = ("saved_model.pb", "saved_model.pbtxt")

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a signature takes and returns."""

    name: str
    inputs: Mapping[str, tf.TensorSpec]
    outputs: tuple[str, ...]
    defaults: Mapping[str, tf.Tensor]
    """Of inputs that need not be given."""


class LoadedModel:
    """A SavedModel, whoever made it.

    Attributes:
        definitions: the signatures by name as they are in the file.
        signatures: the same for those who call them.
    """

    def __init__(self, path: os.PathLike):
        """Loads it.

        Raises:
            Exception: anything, if the SavedModel is broken.
        """
        assert tf_ls.__version__  # TensorFlow knows the operations from here on
        self._model = tf.saved_model.load(os.fspath(path))
        self._functions = dict(self._model.signatures)
        self._hidden: set[str] = set()
        definitions = read_signatures(Path(path))
        self.definitions = definitions
        self.signatures = {
            name: _signature(name, definitions[name])
            for name in self._functions
            if name in definitions
        }

    def signature(self, name: str) -> Signature:
        """Returns a signature, the default one for no name.

        Raises:
            ServingError: there is none of that name.
        """
        name = name or DEFAULT_SIGNATURE
        if name not in self.signatures or name in self._hidden:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def hide(self, name: str) -> None:
        """Takes a signature from clients: only `call` still knows it."""
        self._hidden.add(name)
        self.definitions.pop(name, None)

    def set_defaults(self, name: str, defaults: Arrays) -> None:
        """Sets the defaults of a signature, where TensorFlow may have stored none."""
        tensors = {key: tf.constant(value) for key, value in defaults.items()}
        self.signatures[name] = dataclasses.replace(self.signatures[name], defaults=tensors)

    def call(
        self, name: str, inputs: Mapping[str, Any], cancellation: Optional[Cancellation] = None
    ) -> dict[str, np.ndarray]:
        """Calls a signature, with its defaults for what is not given.

        Raises:
            ServingError: the operations refuse the inputs, or fail.
            Cancelled: it was stopped.
        """
        tensors = {**self.signatures[name].defaults}
        for key, value in inputs.items():
            spec = self.signatures[name].inputs[key]
            tensors[key] = tf.convert_to_tensor(value, spec.dtype)
        try:
            outputs = call(self._functions[name], tensors, cancellation)
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError) as error:
            raise invalid(operation_message(error.message)) from error
        except tf.errors.ResourceExhaustedError as error:
            log.exception("not enough memory")
            raise ServingError(
                "RESOURCE_EXHAUSTED", "not enough memory for this", retry_after=1
            ) from error
        except tf.errors.CancelledError:
            raise
        except tf.errors.OpError as error:
            log.exception("signature %s failed", name)
            raise internal() from error
        return {key: _array(value) for key, value in outputs.items()}


def _array(tensor: tf.Tensor) -> np.ndarray:
    value = tensor.numpy()
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def read_signatures(path: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signatures of a SavedModel's folder, as they are in its file."""
    model = saved_model_pb2.SavedModel()
    if (path / FILES[0]).is_file():
        model.ParseFromString((path / FILES[0]).read_bytes())
    else:
        text_format.Parse((path / FILES[1]).read_text(), model)
    for graph in model.meta_graphs:
        if tf.saved_model.SERVING in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError(f"no graph has the tag {tf.saved_model.SERVING!r}")


def _signature(name: str, definition: meta_graph_pb2.SignatureDef) -> Signature:
    return Signature(
        name=name,
        inputs={
            key: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), key)
            for key, info in sorted(definition.inputs.items())
        },
        outputs=tuple(sorted(definition.outputs)),
        defaults={
            key: tf.constant(tf.make_ndarray(value))
            # Older versions of TensorFlow store none.
            for key, value in getattr(definition, "defaults", {}).items()
        },
    )
