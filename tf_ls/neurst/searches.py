"""NeurST's search layers on the operation that generates.

The functions here take the place of the layers' own `call`. What they return has NeurST's shapes,
dtypes and padding.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from neurst.layers.search.beam_search import BeamSearch
from neurst.layers.search.sampling import Sampling
from neurst.utils import compat

from tf_ls import ops
from tf_ls.neurst import generation
from tf_ls.neurst.eligibility import compute_dtype, report_fused, report_stock
from tf_ls.ops.host import on_host
from tf_ls.ops.search_options import MAX_BEAM_SIZE

_LARGEST_ALPHA = 10


def make_beam_search_call(stock_call):
    """`BeamSearch.call`, in one operation where it can be."""

    def call(self, parsed_inp, **kwargs):
        limit = self._maximum_decode_length
        if limit is None and kwargs.get("max_data_len"):
            limit = self._extra_decode_length + kwargs["max_data_len"]
        if not _can_search(self, limit, _why_not_beam_search):
            return stock_call(self, parsed_inp, **kwargs)
        alpha = self._length_penalty
        return _generate(
            self,
            parsed_inp,
            limit,
            forbids_unknown=not self._enable_unk,
            method="beam_search",
            beam_size=self._beam_size,
            num_hypotheses=self._top_k,
            length_penalty="neurst",
            length_penalty_alpha=-1.0 if alpha is None or alpha < 0 else float(alpha),
        )

    return call


def make_sampling_call(stock_call):
    """`Sampling.call`, in one operation where it can be."""

    def call(self, parsed_inp, **kwargs):
        limit = self._maximum_decode_length
        if not _can_search(self, limit, _why_not_sampling):
            return stock_call(self, parsed_inp, **kwargs)
        with on_host():
            seed = tf.random.uniform([], maxval=tf.int64.max, dtype=tf.int64)
        hypotheses, _ = _generate(
            self,
            parsed_inp,
            limit,
            forbids_unknown=True,
            method="sampling",
            num_hypotheses=self._sample_num,
            top_k=self._top_k,
            top_p=min(float(self._top_p), 1.0),
            seed=seed,
        )
        return (hypotheses,)

    return call


# (Keras would have AutoGraph rewrite all of this, in seconds, when it builds a model.)
@tf.autograph.experimental.do_not_convert
def _can_search(
    search: BeamSearch | Sampling, limit: int | None, why_not_method: Callable[..., str | None]
) -> bool:
    """Whether a search can run in one operation; logs once how it runs."""
    reason = _why_not(search, limit) or why_not_method(search)
    name = type(search).__name__
    if reason is None:
        report_fused(name, f"the whole search as one operation, in {compute_dtype().name}")
    else:
        report_stock(name, reason)
    return reason is None


def _why_not(search: BeamSearch | Sampling, limit: int | None) -> str | None:
    reason = generation.why_not(search._model)
    if reason is not None:
        return reason
    if search._padded_decode:
        return "its cache is padded (padded_decode)"
    if not isinstance(limit, int):
        return f"maximum_decode_length is {limit}"
    if search._minimum_decode_length >= limit:
        return f"minimum_decode_length is {search._minimum_decode_length}, the maximum {limit}"
    if search._extra_decode_length < 0:
        return f"extra_decode_length is {search._extra_decode_length}"
    positions = generation.positions(search._model)
    if positions is not None and positions < limit:
        return f"there are {positions} positions, and maximum_decode_length is {limit}"
    return None


def _why_not_beam_search(search: BeamSearch) -> str | None:
    beam_size, top_k = search._beam_size, search._top_k
    if not 1 <= top_k <= beam_size <= MAX_BEAM_SIZE:
        return f"beam_size is {beam_size} and top_k {top_k}"
    words = generation.vocabulary_size(search._model) - 2  # without the unknown token and EOS
    if beam_size > words:
        return f"beam_size is {beam_size} in a vocabulary of {words} words"
    alpha = search._length_penalty
    if alpha is not None and alpha > _LARGEST_ALPHA:
        return f"length_penalty is {alpha}"
    return None


def _why_not_sampling(search: Sampling) -> str | None:
    if search._sample_num < 1:
        return f"sample_num is {search._sample_num}"
    words = generation.vocabulary_size(search._model)
    if not 0 <= search._top_k <= words:
        return f"top_k is {search._top_k} in a vocabulary of {words} words"
    if search._top_p <= 0:
        return f"top_p is {search._top_p}"
    return None


@tf.autograph.experimental.do_not_convert
def _generate(
    search: BeamSearch | Sampling,
    inputs: dict[str, tf.Tensor],
    limit: int,
    *,
    forbids_unknown: bool,
    **options,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Hypotheses, int32 [B * n, limit] with EOS behind the last token, and scores [B * n]."""
    prepared = generation.prepare(search._model, inputs)
    minimum = search._minimum_decode_length
    max_length = limit
    if prepared.padded_length is not None:
        with on_host():  # the same for all sentences of a batch
            max_length = tf.minimum(prepared.padded_length + search._extra_decode_length, limit)
            max_length = tf.maximum(max_length, max(minimum, 1))
    forbids_unknown = forbids_unknown and prepared.unk is not None
    generated = ops.generate(
        generation.decoder_of(search._model),
        prepared.memory,
        prepared.lengths,
        prepared.start,
        ops.SearchOptions(
            eos=prepared.eos,
            min_length=minimum,
            max_length=max_length,
            max_extra_length=None,
            forbidden_tokens=(prepared.unk,) if forbids_unknown else (),
            **options,
        ),
        dtype=compute_dtype(),
    )
    with on_host():
        tokens = tf.cast(generated.tokens, tf.int32)
        batch, count, length = tf.unstack(tf.shape(tokens))
        tokens = tf.reshape(tokens, [batch * count, length])
        padding = [[0, 0], [0, limit - length]]
        hypotheses = tf.pad(tokens, padding, constant_values=prepared.eos)
        return hypotheses, tf.cast(tf.reshape(generated.scores, [-1]), compat.CUSTOM_GLOBAL_FLOATX)
