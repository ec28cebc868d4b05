"""How a translation model generates: generation_config.json, which config.json has been until 2023.

What model files have no place for is left out, and the log names it: it changes no numbers of the
model, and whoever generates chooses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import logging

from tf_ls.convert.error import ConversionError
from tf_ls.files import Model

FILE = "generation_config.json"

# LightSeq's default, because theirs ends sentences at 20 tokens.
_EXTRA_LENGTH = 50

# Options that generation with tf_ls has not, or has otherwise; what does nothing.
_NOT_CARRIED = {
    "do_sample": False,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "penalty_alpha": None,
    "exponential_decay_length_penalty": None,
    "begin_suppress_tokens": None,
    "min_new_tokens": None,
}


def read(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of generation: generation_config.json's in front of config.json's.

    Raises:
        ConversionError: it is no JSON of an object.
    """
    path = folder / FILE
    if not path.is_file():
        return dict(config)
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{FILE} is no JSON: {error}") from error
    if not isinstance(options, dict):
        raise ConversionError(f"{FILE}: expected an object, got {type(options).__name__}")
    return {**config, **options}


def token(options: Mapping[str, Any], *names: str) -> int:
    """Returns the first of some tokens that there is.

    Raises:
        ConversionError: there is none, or several tokens under one name.
    """
    for name in names:
        if options.get(name) is not None:
            if type(options[name]) is not int:
                raise ConversionError(f"{name}: expected one token, got {options[name]!r}")
            return options[name]
    raise ConversionError(f"{names[0]} is missing")


def put_settings(options: Mapping[str, Any], model: Model) -> None:
    """Puts how to generate into a Transformer.

    Raises:
        ConversionError: there is no token to start with, to end with, or for padding.
    """
    prefix = options.get("forced_bos_token_id")
    model.settings.update(
        src_padding_id=token(options, "pad_token_id"),
        trg_start_id=token(options, "decoder_start_token_id", "bos_token_id"),
        trg_end_id=token(options, "eos_token_id"),
        beam_size=options.get("num_beams") or 1,
        length_penalty=float(_value(options, "length_penalty", 1.0)),
        extra_decode_length=_EXTRA_LENGTH,
        sampling_method="beam_search",
        prefix="" if prefix is None else json.dumps([prefix]),
        search_options=json.dumps(_search_options(options)),
    )
    left_out = [
        name
        for name, nothing in _NOT_CARRIED.items()
        if options.get(name) not in (None, False, nothing)
    ]
    if options.get("no_repeat_ngram_size") == 1:  # of theirs, the start token is the first
        left_out.append("no_repeat_ngram_size")
    if left_out:
        logging.warning("tf_ls: left out of how to generate: %s", ", ".join(left_out))


def of_model(model: Model) -> dict[str, Any]:
    """Returns the options that `put_settings` reads, of a model."""
    search = model.search_options()
    options = {
        "pad_token_id": model.setting("src_padding_id"),
        "decoder_start_token_id": model.setting("trg_start_id"),
        "eos_token_id": model.setting("trg_end_id"),
        "num_beams": model.setting("beam_size"),
        "early_stopping": bool(search.get("early_stopping", False)),
        "min_length": search.get("min_length", 0),
        "no_repeat_ngram_size": search.get("no_repeat_ngram_size", 0),
    }
    if search.get("length_penalty") == "exponent":
        options["length_penalty"] = model.setting("length_penalty")
    else:
        logging.warning("tf_ls: left out, theirs has another formula: length_penalty")
    if "max_length" in search:
        options["max_length"] = search["max_length"] + 1
    if search.get("forbidden_tokens"):
        options["bad_words_ids"] = [[token] for token in search["forbidden_tokens"]]
    if model.prefix():
        (options["forced_bos_token_id"], *others) = model.prefix()
        if others:
            raise ConversionError(f"model_conf/prefix: expected one token, got {model.prefix()}")
    return options


def _search_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """By the names of `tf_ls.ops.SearchOptions`."""
    search: dict[str, Any] = {
        "length_penalty": "exponent",
        "early_stopping": options.get("early_stopping") is True,
    }
    if options.get("min_length"):
        search["min_length"] = options["min_length"]
    if (options.get("no_repeat_ngram_size") or 0) > 1:
        search["no_repeat_ngram_size"] = options["no_repeat_ngram_size"]
    if options.get("max_length"):  # which counts the start token
        search["max_length"] = options["max_length"] - 1
        search["max_extra_length"] = None
    forbidden = _forbidden(options)
    if forbidden:
        search["forbidden_tokens"] = forbidden
    return search


def _forbidden(options: Mapping[str, Any]) -> list[int]:
    """Tokens that are never generated; sequences of several are left out."""
    words = options.get("bad_words_ids") or []
    longer = [word for word in words if len(word) != 1]
    if longer:
        logging.warning("tf_ls: left out of how to generate: bad_words_ids %s", longer)
    tokens = {word[0] for word in words if len(word) == 1}
    return sorted(tokens | set(options.get("suppress_tokens") or []))


def _value(options: Mapping[str, Any], name: str, default: Any) -> Any:
    return default if options.get(name) is None else options[name]
