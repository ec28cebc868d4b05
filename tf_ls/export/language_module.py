"""A model that continues prompts as variables of one precision and functions on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.generation_module import GenerationModule, Tensors
from tf_ls.export.language_model import DecoderOnly, LanguageModel
from tf_ls.ops.host import on_host

PROMPT = tf.TensorSpec([None, None], tf.int64, "prompt")
PROMPTS = tf.TensorSpec([None], tf.string, "prompts")
STREAM = tf.TensorSpec([], tf.int64, "stream")


class LanguageModule(GenerationModule):
    """What `save` writes of a decoder-only model."""

    model: LanguageModel

    def _prepared(self, weights: DecoderOnly) -> DecoderOnly:
        """The weights as it generates with them."""
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
        lengths = self.model.prompt_lengths(prompt)
        generated = self.model.weights.generate(
            prompt,
            lengths,
            self.model.start,
            ops.SearchOptions(eos=self.model.options.eos, **{**self.defaults, **options}),
            dtype=self._dtype,
            stream=stream,
        )
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

    def encode(self, prompts: tf.Tensor) -> Tensors:
        """The ids [B, P] of prompts [B], which `generate` takes."""
        padding = self.model.padding_id
        return {"prompt": self.model.text.encode(prompts, padding, append_eos=False)}

    def properties(self) -> Tensors:
        """What somebody who calls `generate` has to know of the model."""
        numbers = {
            "vocabulary": self._target_vocabulary,
            "padding_id": self.model.padding_id,
            "start": self.model.start,
            "eos": self.model.options.eos,
        }
        tensors = {name: tf.constant(number, tf.int64) for name, number in numbers.items()}
        return {**tensors, **self._int8_properties()}

    def signatures(self) -> dict[str, Callable]:
        """The functions to save, by the names of their signatures."""
        signatures = {
            **self._signatures("serving_default", "serving_with_options", self.generate, PROMPT),
            "stream": self._with_options(self._stream, PROMPT, STREAM),
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
