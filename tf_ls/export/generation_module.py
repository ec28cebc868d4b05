"""A model that translates as variables of one precision and functions on them."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping
from typing import Any, Callable

import tensorflow as tf

from tf_ls import ops
from tf_ls.export import portable
from tf_ls.export.translation_model import TranslationModel
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.ops.generation import option_tensors

SOURCE = tf.TensorSpec([None, None], tf.int64, "source")
SENTENCES = tf.TensorSpec([None], tf.string, "sentences")

Tensors = dict[str, tf.Tensor]


class GenerationModule(tf.Module):
    """What `save` writes. Its weights are copies, once each, of one dtype, in which it computes.

    Attributes:
        model: what was exported; its weights are the variables here.
        defaults: the options by name, but for `eos`, which is the model's; tensors.
    """

    def __init__(self, model: TranslationModel, precision: str, *, is_portable: bool = False):
        """Copies weights.

        Args:
            model: what to export; without texts, whose operations are ours, if it is portable.
            precision: float32, float16 or bfloat16.
            is_portable: whether to generate in stock operations alone.
        """
        super().__init__()
        self._dtype = tf.as_dtype(precision)
        self._is_portable = is_portable
        copies: dict[int, tf.Variable] = {}
        weights = _copied(model.weights, self._dtype, copies)
        self._target_vocabulary = weights.decoder.table.shape[0]
        self.model = dataclasses.replace(model, weights=self._prepared(weights))
        # tf.Module does not look into the weights' own classes for what to save.
        self._weights = list(copies.values())
        self._texts = [text for text in (model.source_text, model.target_text) if text is not None]
        tensors = option_tensors(model.options)
        self.defaults = types.MappingProxyType({k: v for k, v in tensors.items() if k != "eos"})

    def _prepared(self, weights: EncoderDecoder) -> EncoderDecoder:
        """The weights as it generates with them."""
        self._source_vocabulary = weights.encoder.table.shape[0]
        if self._is_portable:
            return weights
        # Packed again where they are loaded.
        self._encoder = ops.PackedEncoder(weights.encoder, self._dtype)
        self._decoder = ops.PackedDecoder(weights.decoder, self._dtype)
        return dataclasses.replace(weights, encoder=self._encoder, decoder=self._decoder)

    def generate(self, source: tf.Tensor, options: Mapping[str, Any]) -> Tensors:
        """Generates from sources [B, S].

        Args:
            source: int64.
            options: by name; the others have their defaults.
        """
        arguments = (
            source,
            self.model.padding(source),
            self.model.start,
            ops.SearchOptions(eos=self.model.options.eos, **{**self.defaults, **options}),
        )
        if self._is_portable:
            return portable.generate(self.model.weights, *arguments, dtype=self._dtype)
        generated = self.model.weights.generate(*arguments, dtype=self._dtype)
        return {
            "tokens": generated.tokens,
            "lengths": generated.lengths,
            "scores": generated.scores,
        }

    def translate(self, sentences: tf.Tensor, options: Mapping[str, Any]) -> Tensors:
        """Translates sentences [B] to their first hypotheses."""
        generated = self.generate(self.encode(sentences)["source"], options)
        decoded = self.decode(generated["tokens"][:, 0], generated["lengths"][:, 0])
        return {"translations": decoded["sentences"], "scores": generated["scores"][:, 0]}

    def encode(self, sentences: tf.Tensor) -> Tensors:
        """The ids [B, S] of sentences [B], which `generate` takes."""
        return {"source": self.model.source_text.encode(sentences, self.model.padding_id)}

    def decode(self, tokens: tf.Tensor, lengths: tf.Tensor) -> Tensors:
        """Sentences [B] of hypotheses [B, T] of lengths [B]."""
        eos = self.model.options.eos
        return {"sentences": self.model.target_text.decode(tokens, lengths, eos)}

    def properties(self) -> Tensors:
        """What somebody who calls `generate` has to know of the model."""
        numbers = {
            "source_vocabulary": self._source_vocabulary,
            "target_vocabulary": self._target_vocabulary,
            "padding_id": self.model.padding_id,
            "start": self.model.start,
            "eos": self.model.options.eos,
        }
        tensors = {name: tf.constant(number, tf.int64) for name, number in numbers.items()}
        return {**tensors, "padding_is_eos": tf.constant(self.model.padding_is_eos)}

    def signatures(self) -> dict[str, Callable]:
        """The functions to save, by the names of their signatures."""
        signatures = {
            **self._signatures("serving_default", "serving_with_options", self.generate, SOURCE),
            "default_options": tf.function(lambda: dict(self.defaults), input_signature=[]),
            "properties": tf.function(self.properties, input_signature=[]),
        }
        if self.model.source_text is not None and self.model.target_text is not None:
            texts = ("translate", "translate_with_options")
            signatures.update(self._signatures(*texts, self.translate, SENTENCES))
            signatures["encode"] = tf.function(self.encode, input_signature=[SENTENCES])
            signatures["decode"] = self._decode_function()
        return signatures

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


def _copied(part: Any, dtype: tf.DType, copies: dict[int, tf.Variable]) -> Any:
    """Weights of any structure as variables of a dtype; what is shared stays shared."""
    if dataclasses.is_dataclass(part):
        fields = {f.name: getattr(part, f.name) for f in dataclasses.fields(part)}
        return type(part)(**{k: _copied(v, dtype, copies) for k, v in fields.items()})
    if isinstance(part, (list, tuple)):
        return type(part)([_copied(element, dtype, copies) for element in part])
    if not tf.is_tensor(part):
        return part
    if id(part) not in copies:
        name = f"weight_{len(copies)}"
        copies[id(part)] = tf.Variable(tf.cast(part, dtype), trainable=False, name=name)
    return copies[id(part)]
