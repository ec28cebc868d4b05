"""What a model that continues text is, whoever made it: weights, special tokens, text."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Union

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.text import Text
from tf_ls.export.translation_model import merged_options
from tf_ls.ops.host import on_host

_LAYER_WEIGHTS = 12  # without cross-attention


class Begin(NamedTuple):
    """What the hypotheses of B prompts begin with, as `ops.generate` takes it."""

    start: tf.Tensor
    """int64 [B], the token in front."""

    prefix: tf.Tensor
    """int64 [B, P]."""

    lengths: tf.Tensor
    """int64 [B], how many tokens each prefix has."""


@dataclasses.dataclass(frozen=True)
class DecoderOnly:
    """A decoder that attends to nothing but what comes before."""

    decoder: ops.Decoder | ops.PackedDecoder

    def generate(self, begin: Begin, options: ops.SearchOptions, **more: Any) -> ops.Generated:
        """Continues what is begun; see `ops.generate`."""
        return ops.generate(
            self.decoder,
            None,
            None,
            begin.start,
            options,
            prefix=begin.prefix,
            prefix_lengths=begin.lengths,
            **more,
        )


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """A Transformer decoder and how it is used."""

    weights: DecoderOnly

    start: int | None
    """The token in front of each prompt; None: a prompt's first token is what it begins with
    (GPT-2), so that no prompt may be empty."""

    options: ops.SearchOptions
    """How to generate unless told otherwise; `eos` is the model's."""

    text: Text | None = None
    no_text_because: str = ""
    """Why there is no text, if there is none."""

    padding: int | None = None
    """The token behind a prompt that is shorter than the longest, and nowhere else in a prompt;
    None: EOS. It need not be in the vocabulary."""

    @property
    def source_text(self) -> Text | None:
        return self.text

    @property
    def target_text(self) -> Text | None:
        return self.text

    @property
    def padding_id(self) -> int:
        return self.options.eos if self.padding is None else self.padding

    def prompt_lengths(self, prompt: tf.Tensor) -> tf.Tensor:
        """Returns int64 [B], how many tokens of prompts [B, P] are in front of their padding."""
        with on_host():
            places = tf.range(1, tf.shape(prompt, tf.int64)[1] + 1)
            tokens = tf.where(prompt == self.padding_id, tf.zeros_like(prompt), places)
            # (The largest of none is the least integer.)
            return tf.maximum(tf.reduce_max(tokens, axis=1), 0)

    def begin(self, prompt: tf.Tensor, lengths: tf.Tensor) -> Begin:
        """Returns what hypotheses of prompts int64 [B, P] begin with.

        Raises:
            tf.errors.InvalidArgumentError: an empty prompt where there is no start token.
        """
        with on_host():
            if self.start is not None:
                starts = tf.fill(tf.shape(lengths), tf.constant(self.start, tf.int64))
                return Begin(starts, prompt, lengths)
            message = "a prompt must have a token: the model has no start token"
            check = tf.debugging.Assert(tf.reduce_all(lengths > 0), [message])
            with tf.control_dependencies([check]):
                first = tf.pad(prompt, [[0, 0], [0, 1]])[:, 0]  # even of no columns
                return Begin(first, prompt[:, 1:], lengths - 1)

    def options_behind_start(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options, whose lengths count a whole prompt, for what `begin` returns."""
        if self.start is not None:
            return dict(options)
        with on_host():
            return {
                **options,
                "min_length": tf.maximum(options["min_length"] - 1, 0),
                "max_length": options["max_length"] - 1,
            }


def described(
    decoder: ops.Decoder,
    start: Optional[int],
    given: Union[ops.SearchOptions, Mapping[str, Any], None],
    own: Optional[Mapping[str, Any]] = None,
    *,
    text: Optional[Text] = None,
    no_text_because: str = "",
    padding: Optional[int] = None,
) -> LanguageModel:
    """Returns the LanguageModel of a decoder.

    Args:
        decoder: without cross-attention.
        start: the token in front of each prompt; None: see `LanguageModel.start`.
        given: options, in front of the model's own. Where it has a table of positions, hypotheses
            are by default no longer than that.
        own: options by name.
        text, no_text_because, padding: as in LanguageModel.

    Raises:
        ValueError: a token, an option or a weight that does not fit the model.
    """
    counts = sorted({len(layer) for layer in decoder.layers})
    if counts != [_LAYER_WEIGHTS]:
        raise ValueError(
            "expected a decoder without cross-attention, whose layers have"
            f" {_LAYER_WEIGHTS} weights each; got {counts}"
        )
    own = dict(own or {})
    has_table = decoder.positions is not None and not isinstance(decoder.positions, str)
    positions = decoder.positions.shape[0] if has_table else None
    if has_table:
        own.setdefault("max_length", min(positions, ops.SearchOptions.max_length))
    if not isinstance(given, ops.SearchOptions):
        given = {**own, **(given or {})}
    options = merged_options(given, None)
    if has_table and options.max_length > positions:
        raise ValueError(
            f"max_length must be at most {positions}, as many positions as the model has; got"
            f" {options.max_length}"
        )
    vocabulary = decoder.table.shape[0]
    for name, token in (("start", start), ("eos", options.eos)):
        if token is not None and not 0 <= token < vocabulary:
            raise ValueError(f"{name} must be in the vocabulary of {vocabulary}, got {token}")
    return LanguageModel(DecoderOnly(decoder), start, options, text, no_text_because, padding)


def describe(
    decoder: ops.Decoder,
    options: Union[ops.SearchOptions, Mapping[str, Any], None],
    start: Optional[int],
    sentencepiece: Union[str, os.PathLike, None],
) -> LanguageModel:
    """Returns what `tf_ls.export.save` exports of a Decoder; the arguments and errors are its."""
    if isinstance(sentencepiece, tuple):
        raise ValueError("a decoder-only model has one SentencePiece model, got two")
    return described(
        decoder,
        start,
        options,
        text=None if sentencepiece is None else Text(sentencepiece),
        no_text_because="no SentencePiece model was given" if sentencepiece is None else "",
    )
