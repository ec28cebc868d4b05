"""Generation: the whole loop as one operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tf_ls.library import library
from tf_ls.ops.decoder import Decoder, decoder_inputs
from tf_ls.ops.host import int64, on_host
from tf_ls.ops.packed_decoder import PackedDecoder
from tf_ls.ops.search_options import SearchOptions

_NO_EXTRA_LENGTH = -1

# Of options that are no float64.
_DTYPES = {
    "eos": tf.int64,
    "method": tf.string,
    "beam_size": tf.int64,
    "num_hypotheses": tf.int64,
    "length_penalty": tf.string,
    "early_stopping": tf.bool,
    "no_repeat_ngram_size": tf.int64,
    "min_length": tf.int64,
    "max_length": tf.int64,
    "max_extra_length": tf.int64,
    "forbidden_tokens": tf.int64,
    "top_k": tf.int64,
    "seed": tf.int64,
}


class Generated(NamedTuple):
    """The hypotheses of B sentences: n of each, up to L tokens long."""

    tokens: tf.Tensor
    """int64 [B, n, L], EOS included if it came; EOS behind it."""

    lengths: tf.Tensor
    """int64 [B, n], how many tokens each has; 0 where fewer were found."""

    scores: tf.Tensor
    """float32 [B, n], by which a search ranks them; -inf where fewer were found."""

    log_probs: tf.Tensor
    """float32 [B, n, L], of each token; 0 behind the last."""

    attention: tf.Tensor
    """float32 [B, n, L, S], the last layer's cross-attention, averaged over the heads, with which
    each token was made; 0 behind the last token and behind the source. [B, n, L, 0] if it was not
    asked for."""


def generate(
    decoder: Decoder | PackedDecoder,
    memory: tf.Tensor | None,
    source_lengths: tf.Tensor | None,
    start: tf.Tensor,
    options: SearchOptions,
    *,
    prefix: tf.Tensor | tf.RaggedTensor | None = None,
    prefix_lengths: tf.Tensor | None = None,
    return_attention: bool | tf.Tensor = False,
    dtype: tf.DType | str | None = None,
    stream: tf.Tensor | None = None,
) -> Generated:
    """Generates from each sentence, in one operation.

    What comes for a sentence depends neither on the other sentences nor on padding, but for the
    rounding of products. Layers compute in the memory's dtype; logits, and what is made of them,
    are float32. The weights of a Decoder are read, cast and laid out for products in each call,
    those of a PackedDecoder were when it was packed.

    Args:
        decoder: the model.
        memory: [B, S, M], what the layers attend to, an encoder's outputs; float32, float16 or
            bfloat16. None for a decoder without cross-attention.
        source_lengths: integers [B], from 0 to S, how many positions of the memory there are. None
            without a memory.
        start: integers [B], the token in front of each sentence's hypotheses.
        options: what to generate. They may be tensors.
        prefix: what the hypotheses of each sentence begin with (a decoder-only model's prompt):
            integers [B, P], or ragged.
        prefix_lengths: integers [B], how many tokens of the prefix there are; None: all P.
        return_attention: whether to return attention; a Python value or a tensor.
        dtype: what layers compute in, without a memory; None: the table's dtype. Of no effect for a
            PackedDecoder, which has its own.
        stream: the number of a TokenStream that nobody has written to, to tell tokens as they come;
            of a PackedDecoder, by methods whose tokens are final when they come: greedy, sampling,
            beam search with a beam of 1 and without early_stopping.

    Returns:
        The hypotheses, best first; samples in the order drawn. They have no gradient.

    Raises:
        tf.errors.InvalidArgumentError: shapes that do not fit each other, tokens that are not in
            the vocabulary, tensors of options that are out of their range, a table of positions
            that is too short, logits that are NaN or infinite, a memory of another dtype than the
            PackedDecoder's.
        tf.errors.CancelledError: the call was cancelled.
        ValueError: the same, where it is known when a graph is built; a memory without lengths; a
            stream without a PackedDecoder.
        TypeError: tokens or lengths that are no integers.
    """
    if (memory is None) != (source_lengths is None):
        raise ValueError("memory and source_lengths must be given together, or none of them")
    with on_host():
        start = int64(start, "start")
        prefix, prefix_lengths = _prefix(prefix, prefix_lengths, start)
        scalars = option_tensors(options)
        if source_lengths is None:
            source_lengths = tf.zeros([0], tf.int64)
        host = {
            "source_lengths": int64(source_lengths, "source_lengths"),
            "start": start,
            "prefix": prefix,
            "prefix_lengths": prefix_lengths,
            "return_attention": tf.convert_to_tensor(return_attention, tf.bool),
            **scalars,
        }
    memories = [] if memory is None else [memory]
    if isinstance(decoder, PackedDecoder):
        dtype = decoder.dtype if memory is None else memory.dtype
        packed = {"memory": memories, "decoder": decoder.resource_handle, "T": dtype}
        if stream is None:
            return Generated(*library.ops.ls_generate_packed(**host, **packed))
        return Generated(*library.ops.ls_generate_stream(**host, stream=stream, **packed))
    if stream is not None:
        raise ValueError("tokens are streamed from a PackedDecoder, got a Decoder")
    dtype = tf.as_dtype(dtype or decoder.table.dtype) if memory is None else memory.dtype
    return Generated(
        *library.ops.ls_generate(**host, memory=memories, T=dtype, **decoder_inputs(decoder))
    )


tf.no_gradient("LSGenerate")
tf.no_gradient("LSGeneratePacked")
tf.no_gradient("LSGenerateStream")


def option_tensors(options: SearchOptions) -> dict[str, tf.Tensor]:
    """Options by name as tensors of the operation's dtypes; `max_extra_length` None as -1.

    Of these `SearchOptions` can be made again, and of their values by `options_of`.
    """

    def tensor(name: str) -> tf.Tensor:
        value = getattr(options, name)
        dtype = _DTYPES.get(name, tf.float64)
        if tf.is_tensor(value):
            return value if dtype is tf.string else tf.cast(value, dtype)
        return tf.convert_to_tensor(_NO_EXTRA_LENGTH if value is None else value, dtype)

    return {field.name: tensor(field.name) for field in dataclasses.fields(SearchOptions)}


def options_of(eos: int, values: Mapping[str, Any]) -> SearchOptions:
    """Returns options of Python values that tensors of `option_tensors` have had.

    Raises:
        ValueError: an option is out of its range.
    """
    if values.get("max_extra_length") == _NO_EXTRA_LENGTH:
        values = {**values, "max_extra_length": None}
    return SearchOptions(eos=eos, **values)


def _prefix(
    prefix: tf.Tensor | tf.RaggedTensor | None, lengths: tf.Tensor | None, start: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The prefix [B, P] and its lengths [B]."""
    if prefix is None:
        if lengths is not None:
            raise ValueError("prefix_lengths are given without a prefix")
        batch = tf.shape(start)[:1]
        return tf.zeros(tf.concat([batch, [0]], 0), tf.int64), tf.zeros_like(start)
    if isinstance(prefix, tf.RaggedTensor):
        if lengths is not None:
            raise ValueError("prefix_lengths are given, but the prefix is ragged")
        return int64(prefix.to_tensor(), "prefix"), int64(prefix.row_lengths(), "prefix_lengths")
    prefix = int64(prefix, "prefix")
    if lengths is None:
        shape = tf.shape(prefix, out_type=tf.int64)
        lengths = tf.fill(shape[:1], shape[1])
    return prefix, int64(lengths, "prefix_lengths")
