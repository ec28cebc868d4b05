"""A model that continues prompts as variables of one precision and functions on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Callable, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.export_module import Tensors
from tf_ls.export.generation_module import GenerationModule
from tf_ls.export.language_model import DecoderOnly, LanguageModel
from tf_ls.ops.host import on_host
from tf_ls.ops.int8_weight import AnyWeight
from tf_ls.ops.layer_stack import LayerStack

PROMPT = tf.TensorSpec([None, None], tf.int64, "prompt")
PROMPTS = tf.TensorSpec([None], tf.string, "prompts")
IDS = tf.TensorSpec([None, None], tf.int64, "ids")
LENGTHS = tf.TensorSpec([None], tf.int64, "lengths")
STREAM = tf.TensorSpec([], tf.int64, "stream")


class LanguageModule(GenerationModule):
    """What `save` writes of a decoder-only model."""

    model: LanguageModel

    def _prepared(self, weights: DecoderOnly) -> DecoderOnly:
        """The weights as it generates with them."""
        self._stack = weights.decoder
        self._decoder = ops.PackedDecoder(weights.decoder, self._dtype)
        return DecoderOnly(self._decoder)

    def generate(
        self, prompt: tf.Tensor, options: Mapping[str, Any], stream: Optional[tf.Tensor] = None
    ) -> Tensors:
        """Continues prompts [B, P]; what is returned has no prompt in it.

        Args:
            prompt: int64.
            options: by name; the others have their defaults.
            stream: as for `ops.generate`.
        """
        begin = self.model.begin(prompt, self.model.prompt_lengths(prompt))
        options = self.model.options_behind_start({**self.defaults, **options})
        generated = self.model.weights.generate(
            begin,
            ops.SearchOptions(eos=self.model.options.eos, **options),
            dtype=self._dtype,
            stream=stream,
        )
        lengths = begin.lengths
        with on_host():
            # (Where fewer hypotheses were found than were wanted, the length is 0.)
            left = tf.maximum(generated.lengths - lengths[:, tf.newaxis], 0)
            longest = tf.maximum(tf.reduce_max(left), 0)
            places = lengths[:, tf.newaxis] + tf.range(longest)
            last = tf.shape(generated.tokens, tf.int64)[2] - 1
            tokens = tf.gather(generated.tokens, tf.minimum(places, last), axis=2, batch_dims=1)
            mask = tf.sequence_mask(left, longest)
            return {
                "tokens": tf.where(mask, tokens, self.model.options.eos),
                "lengths": left,
                "scores": generated.scores,
            }

    def generate_text(self, prompts: tf.Tensor, options: Mapping[str, Any]) -> Tensors:
        """What comes behind prompts [B], by their first hypotheses."""
        prompt = self.encode(prompts)["prompt"]
        generated = self.generate(prompt, options)
        tokens, lengths = generated["tokens"][:, 0], generated["lengths"][:, 0]
        with on_host():
            # A piece's text depends on what is in front of it.
            before = self.model.prompt_lengths(prompt)
            parts = ((prompt, before), (tokens, lengths))
            whole = tf.concat([tf.RaggedTensor.from_tensor(*part) for part in parts], axis=1)
            text = self.decode(whole.to_tensor(), before + lengths)["sentences"]
            begin = tf.strings.length(self.decode(prompt, before)["sentences"])
            begin = tf.minimum(begin, tf.strings.length(text))
            continuations = tf.strings.substr(text, begin, tf.strings.length(text))
        return {"continuations": continuations, "scores": generated["scores"][:, 0]}

    def score(self, ids: tf.Tensor, lengths: tf.Tensor) -> Tensors:
        """How probable texts are: `log_probs` float32 [B, S], of each token behind those before it.

        For these the weights are read, and laid out, in each call, matrices in int8 multiplied out,
        as generating has laid them out for itself alone.

        Args:
            ids: int64 [B, S].
            lengths: int64 [B], how many tokens each has; behind them log_probs are 0, and at the
                first token where there is no start token.
        """
        with on_host():
            starts = tf.fill([tf.shape(ids)[0], 1], tf.constant(self.model.start or 0, tf.int64))
            has_start = self.model.start is not None
            labels = ids if has_start else ids[:, 1:]
            inputs = tf.concat([starts, ids], axis=1)[:, :-1] if has_start else ids[:, :-1]
            shape = tf.shape(labels)
            is_label = tf.sequence_mask(lengths if has_start else lengths - 1, shape[1])
            (layout,) = ops.pack_layouts([~is_label])
        decoder, encoder = self._stack, _causal_encoder(self._stack)
        output = encoder.table
        if decoder.output_weights is not None:
            output = _floats(decoder.output_weights, outputs_are_rows=True)
        encoded = ops.encode(encoder, inputs, ~is_label, dtype=self._dtype)
        negated = ops.projected_cross_entropy(
            ops.pack(encoded.memory, layout),
            layout,
            output,
            decoder.output_bias,
            labels,
            tf.cast(is_label, tf.float32),
        ).nlls
        return {"log_probs": -negated if has_start else tf.pad(-negated, [[0, 0], [1, 0]])}

    def encode(self, prompts: tf.Tensor) -> Tensors:
        """The ids [B, P] of prompts [B], which `generate` takes."""
        padding = self.model.padding_id
        return {"prompt": self.model.text.encode(prompts, padding, append_eos=False)}

    def properties(self) -> Tensors:
        """What somebody who calls `generate` has to know of the model."""
        numbers = {
            "vocabulary": self._target_vocabulary,
            "padding_id": self.model.padding_id,
            "start": -1 if self.model.start is None else self.model.start,
            "eos": self.model.options.eos,
        }
        tensors = {name: tf.constant(number, tf.int64) for name, number in numbers.items()}
        return {**tensors, **self._int8_properties()}

    def signatures(self) -> dict[str, Callable]:
        """The functions to save, by the names of their signatures."""
        signatures = {
            **self._signatures("serving_default", "serving_with_options", self.generate, PROMPT),
            "stream": self._with_options(self._stream, PROMPT, STREAM),
            "score": tf.function(self.score, input_signature=[IDS, LENGTHS]),
            "default_options": tf.function(lambda: dict(self.defaults), input_signature=[]),
            "properties": tf.function(self.properties, input_signature=[]),
        }
        if self.model.text is not None:
            texts = ("generate", "generate_with_options")
            signatures.update(self._signatures(*texts, self.generate_text, PROMPTS))
            signatures["encode"] = tf.function(self.encode, input_signature=[PROMPTS])
            signatures["decode"] = self._decode_function()
        return signatures

    def _stream(self, prompt: tf.Tensor, options: Mapping[str, Any], stream: tf.Tensor) -> Tensors:
        return self.generate(prompt, options, stream)


def _causal_encoder(decoder: ops.Decoder) -> ops.Encoder:
    """The layers of a decoder without cross-attention, for sentences that are there already."""
    stack = {field.name: getattr(decoder, field.name) for field in dataclasses.fields(LayerStack)}
    stack["layers"] = [[_floats(weight) for weight in layer] for layer in decoder.layers]
    stack["table"] = _floats(decoder.table, outputs_are_rows=True)
    return ops.Encoder(**stack, causal=True)


def _floats(weight: AnyWeight, *, outputs_are_rows: bool = False) -> tf.Tensor:
    """A matrix in int8 multiplied out to float32; anything else as it is."""
    if not isinstance(weight, ops.Int8Weight):
        return weight
    scales = weight.scales[:, tf.newaxis] if outputs_are_rows else weight.scales
    return tf.cast(weight.numbers, tf.float32) * scales
