"""From a model, sources and options to hypotheses, as `EncoderDecoder.generate` does."""

from __future__ import annotations

from typing import Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.portable.beams import NONE, Found
from tf_ls.export.portable.checks import require
from tf_ls.export.portable.model import DecoderSteps, encode
from tf_ls.export.portable.options import Options, checked
from tf_ls.export.portable.search import Search
from tf_ls.models.encoder_decoder import EncoderDecoder


@tf.autograph.experimental.do_not_convert  # there is nothing to convert, which takes long
def generate(
    model: EncoderDecoder,
    ids: tf.Tensor,
    padding: tf.Tensor,
    start: Union[tf.Tensor, int],
    options: ops.SearchOptions,
    *,
    dtype: Union[tf.DType, str],
) -> dict[str, tf.Tensor]:
    """Encodes sentences once, and generates from them.

    Args:
        model: the weights, of any dtype.
        ids: int64 [B, S].
        padding: bool [B, S], True at padding, which may be anywhere.
        start: the token in front of each sentence's hypotheses: an integer, or integers [B].
        options: what to generate; they may be tensors.
        dtype: what layers compute in, float32 or bfloat16. float16 is computed in float32: on
            processors TensorFlow's own products of it are up to a hundred times slower, and lose
            digits in their sums.

    Returns:
        "tokens", "lengths" and "scores" of `ops.Generated`.

    Raises:
        tf.errors.InvalidArgumentError: as `EncoderDecoder.generate`.
    """
    dtype = tf.as_dtype(dtype)
    memory = encode(model.encoder, ids, padding, tf.float32 if dtype == tf.float16 else dtype)
    return generate_from_memory(model.decoder, memory, padding, start, options)


@tf.autograph.experimental.do_not_convert
def generate_from_memory(
    decoder: ops.Decoder,
    memory: tf.Tensor,
    padding: tf.Tensor,
    start: Union[tf.Tensor, int],
    options: ops.SearchOptions,
) -> dict[str, tf.Tensor]:
    """Generates from encoded sentences [B, S, M], in whose dtype layers compute; see `generate`."""
    options = checked(options, tf.shape(decoder.table, tf.int64)[0])
    visible = ~padding
    limits = options.length_limits(tf.reduce_sum(tf.cast(visible, tf.int64), axis=1))
    with tf.control_dependencies(_check_positions(decoder, limits)):
        start = tf.broadcast_to(tf.cast(start, tf.int64), tf.shape(limits))
    steps = DecoderSteps(decoder, memory, padding, options.samples * options.beam_size)
    return _outputs(Search(steps, options, start, limits, visible).run(), options)


def _check_positions(decoder: ops.Decoder, limits: tf.Tensor) -> list:
    if not tf.is_tensor(decoder.positions):
        return []
    longest = _largest(limits)
    rows = tf.shape(decoder.positions, tf.int64)[0]
    return require(
        rows >= longest,
        *("the table of positions must have at least ", longest),
        *(" rows, as many tokens as hypotheses may have, got ", rows),
    )


def _outputs(found: Found, options: Options) -> dict[str, tf.Tensor]:
    """Returns what searches have found [N, ...] by sentence [B, num_hypotheses, ...]."""
    lengths = tf.where(found.exist, found.lengths, 0)
    scores = tf.where(found.exist, found.scores, tf.constant(NONE, tf.float64))
    longest = _largest(lengths)
    tokens = tf.where(found.exist[..., tf.newaxis], found.tokens[..., :longest], options.eos)
    searches = tf.shape(lengths, tf.int64)[0]
    of_sentence = [searches // options.samples, options.samples * options.found]
    return {
        "tokens": tf.reshape(tokens, [*of_sentence, longest]),
        "lengths": tf.reshape(lengths, of_sentence),
        "scores": tf.cast(tf.reshape(scores, of_sentence), tf.float32),
    }


def _largest(lengths: tf.Tensor) -> tf.Tensor:
    return tf.maximum(tf.reduce_max(lengths), 0)  # where there are none, too
