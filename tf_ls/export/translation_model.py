"""What a model that translates is, whoever made it: weights, special tokens, text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.text import Text
from tf_ls.models.encoder_decoder import EncoderDecoder
from tf_ls.ops.host import on_host


@dataclasses.dataclass(frozen=True)
class TranslationModel:
    """A Transformer encoder-decoder and how it is used."""

    weights: EncoderDecoder

    start: int
    """The token in front of each hypothesis."""

    padding_id: int
    """The token behind a source that is shorter than the longest."""

    options: ops.SearchOptions
    """How to generate unless told otherwise; `eos` is the model's."""

    prefix: tuple[int, ...] = ()
    """The tokens with which each hypothesis begins, behind the start token."""

    padding_is_eos: bool = False
    """Whether the first `padding_id` of a source is its end and belongs to it, as NeurST has it by
    default. Otherwise all of them are padding, wherever they are."""

    source_text: Text | None = None
    target_text: Text | None = None
    no_text_because: str = ""
    """Why there is no text, if there is none."""

    ids_of: Callable[[str], Sequence[int]] | None = None
    """The ids of a sentence, its end included, by who made the model; in Python, so that it is not
    part of what is exported."""

    def without_text(self, reason: str) -> TranslationModel:
        """Returns the same from ids to ids."""
        return dataclasses.replace(self, source_text=None, target_text=None, no_text_because=reason)

    def padding(self, source: tf.Tensor) -> tf.Tensor:
        """Returns bool [B, S], True at padding of ids [B, S]."""
        with on_host():
            padding = tf.equal(source, self.padding_id)
            if not self.padding_is_eos:
                return padding
            return tf.cumsum(tf.cast(padding, tf.int32), axis=1, exclusive=True) > 0


def merged_options(
    given: ops.SearchOptions | Mapping[str, Any] | None, own: ops.SearchOptions | None
) -> ops.SearchOptions:
    """Returns given options in front of a model's own, if it has any.

    Raises:
        ValueError: an option is unknown or out of its range; there is no `eos`.
    """
    if isinstance(given, ops.SearchOptions):
        return given
    given = dict(given or {})
    known = [field.name for field in dataclasses.fields(ops.SearchOptions)]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"unknown option {', '.join(unknown)}; the options are {', '.join(known)}")
    if own is not None:
        return dataclasses.replace(own, **given)
    if "eos" not in given:
        raise ValueError("options must have eos, the token that ends a hypothesis")
    return ops.SearchOptions(**given)
