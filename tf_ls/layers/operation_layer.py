"""What all layers on the operations share: dtypes, variables, masks, what they tell Keras."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tf_ls.keras_version import KERAS_3

COMPUTE_DTYPES = ("float32", "bfloat16", "float16")

_INITIALIZERS = {"gamma": "ones", "beta": "zeros", "kernel": "glorot_uniform", "bias": "zeros"}


def scoped_name(name: str) -> str:
    """Returns a name with slashes as this Keras can have it: Keras 3 forbids them."""
    return name.replace("/", ".") if KERAS_3 else name


class OperationLayer(tf.keras.layers.Layer):
    """Base of the layers; not for direct use."""

    def __init__(self, fp16: bool = False, **kwargs: Any):
        if fp16 and kwargs.get("dtype") is None:
            kwargs["dtype"] = "mixed_float16"
        super().__init__(**kwargs)
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise ValueError(
                f"{type(self).__name__} computes in {', '.join(COMPUTE_DTYPES)}, "
                f"got the dtype {self.compute_dtype}"
            )
        self.supports_masking = True
        self.supports_jit = False  # Keras 3 then leaves XLA out of compile(jit_compile="auto")
        self._parameter_attributes: list[str] = []

    def add_parameters(self, names: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
        """Creates float32 variables.

        They are float32 under every policy: the operations take float32 weights and return float32
        gradients, so Keras must not hand out copies cast to the compute dtype.
        """
        raw = {"autocast": False} if KERAS_3 else {"experimental_autocast": False}
        for name, shape in zip(names, shapes):
            # An attribute each, not a list: tf.train.Checkpoint finds attributes on either Keras.
            attribute = name.replace("/", "_")
            weight = self.add_weight(
                name=scoped_name(name),
                shape=shape,
                dtype="float32",
                initializer=_initializer(name, shape),
                **raw,
            )
            setattr(self, attribute, weight)
            self._parameter_attributes.append(attribute)

    def parameters(self) -> list[tf.Variable]:
        """Returns the variables in the order in which they were added."""
        weights = [getattr(self, attribute) for attribute in self._parameter_attributes]
        return [weight.value if KERAS_3 else weight for weight in weights]

    def build_by_name(self, input_shape: Any = None) -> None:
        """Creates the variables, named as a call would name them."""
        if self.built:
            return
        with tf.name_scope(self.name):
            self.build(input_shape)

    def is_training(self, training: Any) -> bool:
        """Returns what `training` says when the graph is traced.

        Raises:
            ValueError: if that is known only when it runs.
        """
        if training is None:
            return False
        static = tf.get_static_value(training) if tf.is_tensor(training) else training
        if static is None:
            raise ValueError(
                f"{self.name}: training must be True, False or None when the graph is traced, got "
                f"the tensor {training}; call the layer under tf.cond, once with each value"
            )
        return bool(static)

    def padding(self, tensor: tf.Tensor, mask: Any) -> tf.Tensor:
        """Returns bool [B, L], True where a mask of a tensor [B, L, ...] is False."""
        mask = tf.convert_to_tensor(mask)
        if mask.shape.rank != 2 or not mask.shape.is_compatible_with(tensor.shape[:2]):
            raise ValueError(
                f"{self.name}: expected a mask [batch, length] = {tensor.shape[:2]} with "
                f"True at real tokens, got the shape {mask.shape}"
            )
        return tf.logical_not(tf.cast(mask, tf.bool))


def _initializer(name: str, shape: tuple[int, ...]) -> Any:
    kind = name.rsplit("/", 1)[-1]
    if kind == "weights":  # a table of vectors, as NeurST's
        return tf.keras.initializers.RandomNormal(stddev=shape[-1] ** -0.5)
    return _INITIALIZERS[kind]
