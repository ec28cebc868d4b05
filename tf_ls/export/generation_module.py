"""A model that translates as variables of one precision and functions on them."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export import portable
from tf_ls.export.attention import at_positions
from tf_ls.export.calibration import Sentence
from tf_ls.export.int8 import in_int8
from tf_ls.export.precision import precision_of
from tf_ls.export.translation_model import TranslationModel
from tf_ls.export.weights import map_weights
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.ops.generation import option_tensors
from tf_ls.ops.host import on_host

SOURCE = tf.TensorSpec([None, None], tf.int64, "source")
SENTENCES = tf.TensorSpec([None], tf.string, "sentences")

Tensors = dict[str, tf.Tensor]


class GenerationModule(tf.Module):
    """What `save` writes. Its weights are copies, once each, of one precision.

    Attributes:
        model: what was exported; its weights are the variables here.
        defaults: the options by name, but for `eos`, which is the model's; tensors.
        int8_report: which matrices are in int8, and what it costs; None if that was not asked for.
    """

    def __init__(
        self,
        model: TranslationModel,
        precision: str,
        *,
        is_portable: bool = False,
        calibration: Optional[Sequence[Sentence]] = None,
    ):
        """Copies weights.

        Args:
            model: what to export; without texts, whose operations are ours, if it is portable.
            precision: one of PRECISIONS.
            is_portable: whether to generate in stock operations alone, which know no int8.
            calibration: sentences to measure by what int8 costs, see `in_int8`.

        Raises:
            ValueError: an unknown precision, and what `in_int8` raises.
        """
        super().__init__()
        self._precision = precision
        types_of = precision_of(precision)
        self._dtype = tf.as_dtype(types_of.activations)
        self._is_portable = is_portable
        self.int8_report = None
        weights = model.weights
        if types_of.is_int8:
            weights, self.int8_report = in_int8(model, self._dtype, calibration)
        copies = _Copies(tf.as_dtype(types_of.weights))
        weights = map_weights(copies.of, weights)
        self._target_vocabulary = weights.decoder.table.shape[0]
        self.model = dataclasses.replace(model, weights=self._prepared(weights))
        # tf.Module does not look into the weights' own classes for what to save.
        self._weights = copies.variables
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
        arguments = self._arguments(source, options)
        if self._is_portable:
            return portable.generate(self.model.weights, *arguments, dtype=self._dtype)
        generated = self.model.weights.generate(*arguments, dtype=self._dtype)
        return {
            "tokens": generated.tokens,
            "lengths": generated.lengths,
            "scores": generated.scores,
        }

    def generate_with_attention(self, source: tf.Tensor, options: Mapping[str, Any]) -> Tensors:
        """`generate`, and the attention float32 [B, n, T, S] of each token to the source's."""
        source, padding, *more = self._arguments(source, options)
        generated = self.model.weights.generate(
            source, padding, *more, dtype=self._dtype, return_attention=True
        )
        return {
            "tokens": generated.tokens,
            "lengths": generated.lengths,
            "scores": generated.scores,
            "attention": at_positions(generated.attention, padding),
        }

    def _arguments(self, source: tf.Tensor, options: Mapping[str, Any]) -> tuple:
        """What the generation of sources [B, S] takes, whichever form it has."""
        return (
            source,
            self.model.padding(source),
            self.model.start,
            ops.SearchOptions(eos=self.model.options.eos, **{**self.defaults, **options}),
        )

    def translate(self, sentences: tf.Tensor, options: Mapping[str, Any]) -> Tensors:
        """Translates sentences [B] to their first hypotheses."""
        generated = self.generate(self.encode(sentences)["source"], options)
        decoded = self.decode(generated["tokens"][:, 0], generated["lengths"][:, 0])
        return {"translations": decoded["sentences"], "scores": generated["scores"][:, 0]}

    def translate_with_attention(self, sentences: tf.Tensor, options: Mapping[str, Any]) -> Tensors:
        """Translates sentences [B] to all hypotheses [B, n], with what makes their attention read.

        Pieces, string [B, S] and [B, n, T], are empty behind a sentence's last.
        """
        source = self.encode(sentences)["source"]
        found = self.generate_with_attention(source, options)
        tokens, lengths = found["tokens"], found["lengths"]
        with on_host():
            pieces = self.vocabularies()
            shape = tf.shape(tokens)
            rows = [tf.reshape(tokens, [shape[0] * shape[1], shape[2]]), tf.reshape(lengths, [-1])]
            behind = ~tf.sequence_mask(lengths, shape[2])
            return {
                "translations": tf.reshape(self.decode(*rows)["sentences"], shape[:2]),
                "scores": found["scores"],
                "attention": found["attention"],
                "source_pieces": tf.where(
                    self.model.padding(source), "", tf.gather(pieces["source_pieces"], source)
                ),
                "target_pieces": tf.where(behind, "", tf.gather(pieces["target_pieces"], tokens)),
            }

    def vocabularies(self) -> Tensors:
        """The pieces of all tokens of both sides, by their ids."""
        return {
            "source_pieces": self.model.source_text.vocabulary(),
            "target_pieces": self.model.target_text.vocabulary(),
        }

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
        tensors["padding_is_eos"] = tf.constant(self.model.padding_is_eos)
        return {**tensors, **self._int8_properties()}

    def _int8_properties(self) -> Tensors:
        if self.int8_report is None:
            return {}
        names, losses, are_int8 = zip(*self.int8_report.matrices)
        return {
            "precision": tf.constant(self._precision),
            "matrices": tf.constant(names),
            "matrices_in_int8": tf.constant(are_int8),
            "matrix_losses": tf.constant(losses, tf.float32),
            "measure_of_losses": tf.constant(self.int8_report.measure),
        }

    def signatures(self) -> dict[str, Callable]:
        """The functions to save, by the names of their signatures."""
        signatures = {
            **self._signatures("serving_default", "serving_with_options", self.generate, SOURCE),
            "default_options": tf.function(lambda: dict(self.defaults), input_signature=[]),
            "properties": tf.function(self.properties, input_signature=[]),
        }
        if not self._is_portable:
            signatures["serving_with_attention"] = self._with_options(
                self.generate_with_attention, SOURCE
            )
        if self.model.source_text is not None and self.model.target_text is not None:
            texts = ("translate", "translate_with_options")
            signatures.update(self._signatures(*texts, self.translate, SENTENCES))
            signatures["translate_with_attention"] = self._with_options(
                self.translate_with_attention, SENTENCES
            )
            signatures["vocabularies"] = tf.function(self.vocabularies, input_signature=[])
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


class _Copies:
    """Copies of weights as variables; what is shared stays shared."""

    def __init__(self, dtype: tf.DType):
        """Says what weights become that are not int8."""
        self._dtype = dtype
        self._copies: dict[int, tf.Variable | ops.Int8Weight] = {}
        self.variables: list[tf.Variable] = []

    def of(self, weight: tf.Tensor | ops.Int8Weight) -> tf.Variable | ops.Int8Weight:
        if id(weight) not in self._copies:
            if isinstance(weight, ops.Int8Weight):
                copy = ops.Int8Weight(*map(self._variable, weight))
            else:
                copy = self._variable(tf.cast(weight, self._dtype))
            self._copies[id(weight)] = copy
        return self._copies[id(weight)]

    def _variable(self, value: tf.Tensor) -> tf.Variable:
        name = f"weight_{len(self.variables)}"
        self.variables.append(tf.Variable(value, trainable=False, name=name))
        return self.variables[-1]
