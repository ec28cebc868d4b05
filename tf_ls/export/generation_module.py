"""A model that generates as variables of one precision and functions on them."""

from __future__ import annotations

import inspect
import types
from collections.abc import Sequence
from typing import Any, Callable, Optional

import tensorflow as tf

from tf_ls.export.calibration import Sentence
from tf_ls.export.export_module import ExportModule, Tensors
from tf_ls.ops.generation import option_tensors


class GenerationModule(ExportModule):
    """What models that translate and models that continue prompts have in common.

    Attributes:
        defaults: the options by name, but for `eos`, which is the model's; tensors.
    """

    def __init__(
        self, model: Any, precision: str, *, calibration: Optional[Sequence[Sentence]] = None
    ):
        """Copies weights; the arguments and errors are those of ExportModule."""
        super().__init__(model, precision, calibration=calibration)
        self._target_vocabulary = model.weights.decoder.table.shape[0]
        self._texts = [text for text in (model.source_text, model.target_text) if text is not None]
        tensors = option_tensors(model.options)
        self.defaults = types.MappingProxyType({k: v for k, v in tensors.items() if k != "eos"})

    def decode(self, tokens: tf.Tensor, lengths: tf.Tensor) -> Tensors:
        """Sentences [B] of hypotheses [B, T] of lengths [B]."""
        eos = self.model.options.eos
        return {"sentences": self.model.target_text.decode(tokens, lengths, eos)}

    def _decode_function(self) -> Callable:
        return tf.function(
            self.decode,
            input_signature=[
                tf.TensorSpec([None, None], tf.int64, "tokens"),
                tf.TensorSpec([None], tf.int64, "lengths"),
            ],
        )

    def _signatures(
        self, plain: str, with_options: str, function: Callable, inputs: tf.TensorSpec
    ) -> dict[str, Callable]:
        """A function of inputs alone, and with options: one graph, which the other calls."""
        general = self._with_options(function, inputs)
        values = list(self.defaults.values())
        special = tf.function(lambda given: general(given, *values), input_signature=[inputs])
        return {plain: special, with_options: general}

    def _with_options(
        self, function: Callable, inputs: tf.TensorSpec, *more: tf.TensorSpec
    ) -> Callable:
        """The function with an input for each option, which is optional where TensorFlow can."""
        specs = [inputs, *more]
        for name, default in self.defaults.items():
            specs.append(tf.TensorSpec([None] * default.shape.rank, default.dtype, name))

        def call(given: tf.Tensor, *rest: tf.Tensor) -> Tensors:
            options = dict(zip(self.defaults, rest[len(more) :]))
            return function(given, options, *rest[: len(more)])

        defaults = self.defaults if _stores_defaults() else {}
        call.__signature__ = inspect.Signature(
            [
                inspect.Parameter(
                    spec.name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=defaults.get(spec.name, inspect.Parameter.empty),
                )
                for spec in specs
            ]
        )
        return tf.function(call, input_signature=specs)


def _stores_defaults() -> bool:
    """Whether this TensorFlow writes default values of a signature's inputs."""
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.python.saved_model import nested_structure_coder

    fields = meta_graph_pb2.SignatureDef.DESCRIPTOR.fields_by_name
    return "defaults" in fields and nested_structure_coder.can_encode(tf.constant(0))
