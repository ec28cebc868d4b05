"""What a model that encodes is, whoever made it: an encoder, heads, labels."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tf_ls import ops
from tf_ls.ops.host import on_host


@dataclasses.dataclass(frozen=True)
class Dense:
    """x * kernel + bias."""

    kernel: tf.Tensor
    """[M, N]."""

    bias: tf.Tensor
    """[N]."""


@dataclasses.dataclass(frozen=True)
class WordHead:
    """What makes logits of words: dense, activation, norm, and a product with the table."""

    dense: Dense
    norm: tuple[tf.Tensor, tf.Tensor]
    """gamma and beta [H]."""

    output_bias: tf.Tensor
    """[V]."""


@dataclasses.dataclass(frozen=True)
class EncoderWithHeads:
    """An encoder and what reads its hidden states."""

    encoder: ops.Encoder | ops.PackedEncoder

    pooler: Dense | None = None
    """[H, H], of each sentence's first hidden state, with tanh behind it."""

    head: Dense | None = None
    """[H, N], logits of classes: of sentences or of tokens, as the task says."""

    word_head: WordHead | None = None


@dataclasses.dataclass(frozen=True)
class EncoderModel:
    """A Transformer encoder and how it is used (Devlin et al. 2018, "BERT", arXiv:1810.04805)."""

    weights: EncoderWithHeads

    padding_id: int
    """The token behind a sentence that is shorter than the longest."""

    task: str = ""
    """What logits are of, one of `tf_ls.files.definitions.TASKS`. text-classification: of classes
    for each sentence, by `head` from the pooled state. token-classification: of classes for each
    token, by `head`. fill-mask: of words for each token, by `word_head`. Empty: there are none."""

    labels: tuple[str, ...] = ()
    """The names of the classes, if they have names."""

    def padding(self, ids: tf.Tensor) -> tf.Tensor:
        """Returns bool [B, S], True at padding of ids [B, S].

        Raises:
            tf.errors.InvalidArgumentError: padding is not behind a sentence's tokens.
        """
        with on_host():
            padding = ids == self.padding_id
            is_behind = tf.reduce_all(~padding[:, :-1] | padding[:, 1:])
            message = f"ids must have padding ({self.padding_id}) behind their tokens only"
            with tf.control_dependencies([tf.debugging.Assert(is_behind, [message])]):
                return tf.identity(padding)
