"""NeurST's text pipelines on SentencePiece, in operations."""

from __future__ import annotations

import functools
import os
import re

import tensorflow as tf
from neurst.data.data_pipelines.text_data_pipeline import TextDataPipeline
from neurst.data.text.spm import SentencePiece
from sacremoses import MosesPunctNormalizer

from tf_ls.export.text import Text

# What NeurST joins after punctuation is normalized.
_JOINED = [("' s ", "'s "), ("' ve ", "'ve "), ("' m ", "'m "), ("' t ", "'t "), ("' re ", "'re ")]
# Python's idea of digits and white space, for RE2, whose \d and \s know ASCII only.
_DIGIT = r"\p{Nd}"
_SPACE = r"\t-\r\x1c-\x20\x{85}\p{Z}"


def text_of(pipeline: TextDataPipeline) -> Text | str:
    """A pipeline as operations; or why it cannot be that."""
    params = pipeline.get_config()
    if pipeline._tokenizer is not None:
        return f"its text is tokenized by {params['tokenizer']}"
    subtokenizer = pipeline._subtokenizer
    if type(subtokenizer) is not SentencePiece:
        name = params["subtokenizer"]
        return f"its subwords are {name}'s, not SentencePiece's" if name else "it has no subwords"
    if pipeline._reverse_sequence:
        return "its sequences are reversed"
    if params.get("lowercase") or params.get("remove_punctuation"):
        return "its text is lower-cased or loses its punctuation"
    if not os.path.isfile(subtokenizer._codes):
        return f"{subtokenizer._codes} is no file here"
    subtokenizer._lazy_init()
    processor = subtokenizer._sp
    pieces = {processor.id_to_piece(i): i for i in range(processor.get_piece_size())}
    special = [pipeline.meta[name] for name in ("bos_id", "eos_id", "unk_id")]
    other = [t for i, t in enumerate(pipeline.tokens) if t not in pieces and i not in special]
    if other:
        return f"its vocabulary has what is no piece of {subtokenizer._codes}: {other[:3]}"
    tokens = pipeline.map_token_to_id(list(pieces), unknown_default=pipeline.meta["unk_id"])
    tokens[processor.unk_id()] = pipeline.meta["unk_id"]
    return Text(
        subtokenizer._codes,
        tokens,
        eos=pipeline.meta["eos_id"],
        pieces=[pieces.get(token, processor.unk_id()) for token in pipeline.tokens],
        normalize=functools.partial(normalize, language=params["language"]),
    )


def normalize(sentences: tf.Tensor, language: str) -> tf.Tensor:
    """`TextDataPipeline.text_pre_normalize` of sentences [B], as operations."""
    if language not in ("zh", "ja"):
        for pattern, replacement in MosesPunctNormalizer(lang=language).substitutions:
            sentences = tf.strings.regex_replace(sentences, *_as_re2(pattern, replacement))
        sentences = _stripped(sentences)
        for apart, joined in _JOINED:
            sentences = tf.strings.regex_replace(sentences, apart, joined)
    return tf.strings.regex_replace(_stripped(sentences), f"[{_SPACE}]+", " ")


def _stripped(sentences: tf.Tensor) -> tf.Tensor:
    return tf.strings.regex_replace(sentences, rf"\A[{_SPACE}]+|[{_SPACE}]+\z", "")


def _as_re2(pattern: str, replacement: str) -> tuple[str, str]:
    """A substitution of Python's `re` as one of RE2."""
    pattern = pattern.replace(r"\d", _DIGIT).replace(r"\s", f"[{_SPACE}]")
    return pattern, re.sub(r"\\g<(\d)>", r"\\\1", replacement)
