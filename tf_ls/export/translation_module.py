"""A model that translates as variables of one precision and functions on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export import portable
from tf_ls.export.attention import at_positions
from tf_ls.export.calibration import Sentence
from tf_ls.export.export_module import Tensors
from tf_ls.export.generation_module import GenerationModule
from tf_ls.export.translation_model import TranslationModel
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.ops.host import on_host

SOURCE = tf.TensorSpec([None, None], tf.int64, "source")
SENTENCES = tf.TensorSpec([None], tf.string, "sentences")


class TranslationModule(GenerationModule):
    """What `save` writes of a model that translates."""

    model: TranslationModel

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
            ValueError: an unknown precision, a prefix of what is portable, and what `in_int8`
                raises.
        """
        if is_portable and model.prefix:
            raise ValueError(f"a portable model cannot begin with a prefix, {model.prefix}")
        self._is_portable = is_portable
        super().__init__(model, precision, calibration=calibration)

    def _prepared(self, weights: EncoderDecoder) -> EncoderDecoder:
        """The weights as it generates with them."""
        self._source_vocabulary = weights.encoder.table.shape[0]
        table = weights.encoder.positions
        has_table = table is not None and not isinstance(table, str)
        self._source_positions = table.shape[0] if has_table else -1
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
        generated = self.model.weights.generate(
            *arguments, dtype=self._dtype, **self._prefix(source)
        )
        return {
            "tokens": generated.tokens,
            "lengths": generated.lengths,
            "scores": generated.scores,
        }

    def generate_with_attention(self, source: tf.Tensor, options: Mapping[str, Any]) -> Tensors:
        """`generate`, and the attention float32 [B, n, T, S] of each token to the source's."""
        source, padding, *more = self._arguments(source, options)
        generated = self.model.weights.generate(
            source,
            padding,
            *more,
            dtype=self._dtype,
            return_attention=True,
            **self._prefix(source),
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

    def _prefix(self, source: tf.Tensor) -> Tensors:
        """The tokens [B, P] with which the hypotheses of sources [B, S] begin, if there are any."""
        if not self.model.prefix:
            return {}
        with on_host():
            prefix = tf.constant([self.model.prefix], tf.int64)
            return {"prefix": tf.repeat(prefix, tf.shape(source)[0], axis=0)}

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

    def properties(self) -> Tensors:
        """What somebody who calls `generate` has to know of the model."""
        numbers = {
            "source_vocabulary": self._source_vocabulary,
            "source_positions": self._source_positions,
            "target_vocabulary": self._target_vocabulary,
            "padding_id": self.model.padding_id,
            "start": self.model.start,
            "eos": self.model.options.eos,
        }
        tensors = {name: tf.constant(number, tf.int64) for name, number in numbers.items()}
        tensors["padding_is_eos"] = tf.constant(self.model.padding_is_eos)
        return {**tensors, **self._int8_properties()}

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
