"""A model that encodes as variables of one precision and functions on them."""

from __future__ import annotations

import dataclasses
from typing import Callable, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.encoder_model import Dense, EncoderModel, EncoderWithHeads
from tf_ls.export.export_module import ExportModule, Tensors
from tf_ls.ops.host import on_host

IDS = tf.TensorSpec([None, None], tf.int64, "ids")
TOKEN_TYPES = tf.TensorSpec([None, None], tf.int64, "token_types")

_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "tanh": tf.nn.tanh,
    "gelu": lambda x: tf.nn.gelu(x, approximate=True),
    "gelu_approx": lambda x: tf.nn.gelu(x, approximate=True),
    "gelu_nonapprox": lambda x: tf.nn.gelu(x, approximate=False),
    "silu": tf.nn.silu,
}


class EncoderModule(ExportModule):
    """What `save` writes of a model that encodes.

    The encoder is one operation, without padding. Heads are stock operations and compute in
    float32, but for the product with the table of words, which is in the table's type.
    """

    model: EncoderModel

    def _prepared(self, weights: EncoderWithHeads) -> EncoderWithHeads:
        """The weights as it encodes with them."""
        self._stack = weights.encoder
        self._encoder = ops.PackedEncoder(weights.encoder, self._dtype)
        return dataclasses.replace(weights, encoder=self._encoder)

    def hidden_states(self, ids: tf.Tensor, token_types: Optional[tf.Tensor] = None) -> Tensors:
        """Encodes sentences: `hidden_states` float32 [B, S, H], zeros at padding.

        Args:
            ids: int64 [B, S], with padding behind sentences.
            token_types: int64 [B, S], of a model that has them; None: all 0.
        """
        return {"hidden_states": self._encode(ids, self.model.padding(ids), token_types)}

    def pooled(self, ids: tf.Tensor, token_types: Optional[tf.Tensor] = None) -> Tensors:
        """`pooled` float32 [B, H]: tanh(kernel * first hidden state + bias) of each sentence.

        The arguments are those of `hidden_states`; each sentence must have a token.
        """
        hidden = self._encode(ids, self.model.padding(ids), token_types)
        return {"pooled": self._pooled(ids, hidden)}

    def logits(self, ids: tf.Tensor, token_types: Optional[tf.Tensor] = None) -> Tensors:
        """`logits` float32, as the model's task says: [B, N], [B, S, N] or [B, S, V].

        The arguments are those of `hidden_states`. At padding they are zeros. For classes of
        sentences each must have a token.
        """
        padding = self.model.padding(ids)
        hidden = self._encode(ids, padding, token_types)
        weights = self.model.weights
        if self.model.task == "fill-mask":
            return {"logits": self._word_logits(hidden, padding)}
        if self.model.task == "text-classification":
            state = (
                self._first(ids, hidden) if weights.pooler is None else self._pooled(ids, hidden)
            )
            return {"logits": _dense(weights.head, state)}
        logits = _dense(weights.head, hidden)
        return {"logits": tf.where(padding[..., tf.newaxis], 0.0, logits)}

    def properties(self) -> Tensors:
        """What somebody who calls the functions has to know of the model."""
        stack = self._stack
        has_table = stack.positions is not None and not isinstance(stack.positions, str)
        numbers = {
            "vocabulary": stack.table.shape[0],
            "hidden_size": stack.table.shape[1],
            "positions": stack.positions.shape[0] // stack.token_types if has_table else -1,
            "token_types": stack.token_types,
            "padding_id": self.model.padding_id,
        }
        return {
            **{name: tf.constant(number, tf.int64) for name, number in numbers.items()},
            "task": tf.constant(self.model.task),
            "labels": tf.constant(self.model.labels, tf.string, [len(self.model.labels)]),
            **self._int8_properties(),
        }

    def signatures(self) -> dict[str, Callable]:
        """The functions to save, by the names of their signatures."""
        functions = {"hidden_states": self.hidden_states}
        if self.model.weights.pooler is not None:
            functions["pooled"] = self.pooled
        if self.model.task:
            functions["logits"] = self.logits
        specs = [IDS, TOKEN_TYPES] if self._stack.token_types > 1 else [IDS]
        default = functions["logits" if self.model.task else "hidden_states"]
        return {
            **{n: tf.function(f, input_signature=specs) for n, f in functions.items()},
            "serving_default": tf.function(lambda ids: default(ids), input_signature=[IDS]),
            "properties": tf.function(self.properties, input_signature=[]),
        }

    def _encode(
        self, ids: tf.Tensor, padding: tf.Tensor, token_types: Optional[tf.Tensor]
    ) -> tf.Tensor:
        encoded = ops.encode(self.model.weights.encoder, ids, padding, types=token_types)
        return tf.cast(encoded.memory, tf.float32)

    def _pooled(self, ids: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        with on_host():
            has_tokens = tf.reduce_any(ids != self.model.padding_id, axis=1)
            message = "each sentence must have a token"
            check = tf.debugging.Assert(tf.reduce_all(has_tokens), [message])
        with tf.control_dependencies([check]):
            first = tf.reshape(hidden[:, :1], [-1, hidden.shape[2]])  # even of no columns
            return tf.tanh(_dense(self.model.weights.pooler, first))

    def _word_logits(self, hidden: tf.Tensor, padding: tf.Tensor) -> tf.Tensor:
        """The logits of words at the places of tokens; padding is not computed."""
        with on_host():
            shape = tf.shape(padding)
            (layout,) = ops.pack_layouts([padding])
        head, stack = self.model.weights.word_head, self._stack
        rows = _ACTIVATIONS[stack.activation](_dense(head.dense, ops.pack(hidden, layout)))
        gamma, beta = (tf.cast(part, tf.float32) for part in head.norm)
        rows = ops.layer_norm(rows, gamma, beta, stack.epsilon)
        rows = tf.cast(rows, stack.table.dtype)
        logits = ops.output_projection(rows, layout, stack.table, head.output_bias, shape)
        return tf.cast(logits, tf.float32)


def _dense(weights: Dense, x: tf.Tensor) -> tf.Tensor:
    """In float32, on all but the last dimension of x."""
    kernel, bias = (tf.cast(weight, tf.float32) for weight in (weights.kernel, weights.bias))
    return tf.linalg.matmul(x, kernel) + bias
