"""What a Gpt of a model file continues prompts with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

from tf_ls import ops
from tf_ls.export.file_weights import encoder_layers, norms_of, structure, weight_of
from tf_ls.export.language_model import LanguageModel, described
from tf_ls.files.model import InvalidModelFile, Model


def describe(
    model: Model, options: Union[ops.SearchOptions, Mapping[str, Any], None] = None
) -> LanguageModel:
    """Returns the weights of a Gpt in float32, and how its file says to generate.

    There is no start token, as in GPT-2: a prompt's first token is what it begins with.

    Args:
        model: what `tf_ls.files.read` returned for a Gpt.
        options: in front of the file's.

    Raises:
        InvalidModelFile: numbers that are infinite or NaN; settings that are out of their range.
        ValueError: an option that does not fit.
    """
    shapes = model.shapes()
    decoder = ops.Decoder(
        layers=encoder_layers(model, shapes),
        table=weight_of(model, shapes, "src_embedding/token_embedding"),
        positions=weight_of(model, shapes, "src_embedding/position_embedding"),
        **norms_of(model, shapes, "src_embedding"),
        **structure(model),
    )
    own = _options(model, decoder.positions.shape[0])
    padding = model.setting("src_padding_id")
    try:
        described(decoder, None, None, own)
    except ValueError as error:
        raise InvalidModelFile(f"model_conf: {error}") from error
    return described(decoder, None, options, own, padding=padding)


def _options(model: Model, positions: int) -> dict[str, Any]:
    """The file's settings as options of generation; a file for `ppl` generates greedily."""
    method = model.setting("sampling_method")
    own: dict[str, Any] = {
        "eos": model.setting("eos_id"),
        "max_length": positions,
        "max_extra_length": model.setting("extra_decode_length"),
    }
    if method == "topk":
        return {**own, "method": "sampling", "top_k": model.setting("topk")}
    if method == "topp":
        return {**own, "method": "sampling", "top_p": model.setting("topp")}
    return {**own, "method": "greedy"}
