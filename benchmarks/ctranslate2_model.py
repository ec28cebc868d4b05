"""CTranslate2 with the weights of a NeurST Transformer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import ctranslate2
import numpy as np
from ctranslate2.specs import TransformerSpec

_LAYER_NORM_EPSILON = 1e-6


def convert(weights: Mapping[str, np.ndarray], num_heads: int, folder: Path) -> None:
    """Writes a CTranslate2 model, in float32.

    Args:
        weights: by NeurST's names without the model's own; pre-norm, tied target embedding.
        num_heads: of every attention.
        folder: which the model becomes.
    """
    encoder_layers, decoder_layers = (
        len({name.split("/")[1] for name in weights if name.startswith(f"{stack}/layer_")})
        for stack in ("TransformerEncoder", "TransformerDecoder")
    )
    spec = TransformerSpec.from_config((encoder_layers, decoder_layers), num_heads)
    source = weights["input_symbol_modality_posenc_wrapper/input_symbol_modality/emb/weights"]
    target = "target_symbol_modality_posenc_wrapper/target_symbol_modality/shared"
    spec.encoder.embeddings[0].weight = source
    spec.decoder.embeddings.weight = weights[f"{target}/weights"]
    spec.decoder.projection.weight = weights[f"{target}/weights"]
    spec.decoder.projection.bias = weights[f"{target}/bias"]
    for stack, part in ((spec.encoder, "TransformerEncoder"), (spec.decoder, "TransformerDecoder")):
        stack.position_encodings.encodings = _sinusoids(1024, source.shape[1])
        _set_norm(stack.layer_norm, weights, f"{part}/output_ln")
        for i, layer in enumerate(stack.layer):
            _set_layer(layer, weights, f"{part}/layer_{i}")
    vocabulary = [_word(i) for i in range(len(source) - 3)] + ["<unk>", "<s>", "</s>"]
    spec.register_source_vocabulary(vocabulary)
    spec.register_target_vocabulary(vocabulary)
    spec.config.layer_norm_epsilon = _LAYER_NORM_EPSILON
    spec.validate()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


class CTranslate2Search:
    """What NeurSTSearch does, by a model that `convert` has written.

    Args:
        folder: the model.
        compute_type: CTranslate2's name of the type to compute in.
        device: cpu or cuda.
        threads: on the CPU.
    """

    def __init__(self, folder: Path, compute_type: str, device: str, threads: int):
        self._translator = ctranslate2.Translator(
            str(folder),
            device=device,
            compute_type=compute_type,
            inter_threads=1,
            intra_threads=threads,
        )

    def __call__(self, source: np.ndarray, beam_size: int, length: int) -> np.ndarray:
        """As NeurSTSearch."""
        results = self._translator.translate_batch(
            [[_word(i) for i in row] for row in source.tolist()],
            beam_size=beam_size,
            length_penalty=0.6,
            min_decoding_length=length,
            max_decoding_length=length,
            disable_unk=True,
            max_batch_size=0,
        )
        return np.array(
            [[int(word[1:]) if word[0] == "w" else -1 for word in r.hypotheses[0]] for r in results]
        )


def _word(i: int) -> str:
    return f"w{i}"


def _set_layer(layer, weights: Mapping[str, np.ndarray], name: str) -> None:
    block = f"{name}/self_attention_prepost_wrapper"
    _set_norm(layer.self_attention.layer_norm, weights, f"{block}/ln")
    _set_dense(layer.self_attention.linear[0], weights, f"{block}/self_attention/qkv_transform")
    _set_dense(layer.self_attention.linear[1], weights, f"{block}/self_attention/output_transform")
    if hasattr(layer, "attention"):
        block = f"{name}/encdec_attention_prepost_wrapper"
        _set_norm(layer.attention.layer_norm, weights, f"{block}/ln")
        for linear, part in zip(layer.attention.linear, ("q", "kv", "output")):
            _set_dense(linear, weights, f"{block}/encdec_attention/{part}_transform")
    block = f"{name}/ffn_prepost_wrapper"
    _set_norm(layer.ffn.layer_norm, weights, f"{block}/ln")
    _set_dense(layer.ffn.linear_0, weights, f"{block}/ffn/dense1")
    _set_dense(layer.ffn.linear_1, weights, f"{block}/ffn/dense2")


def _set_dense(linear, weights: Mapping[str, np.ndarray], name: str) -> None:
    linear.weight = np.ascontiguousarray(weights[f"{name}/kernel"].T)
    linear.bias = weights[f"{name}/bias"]


def _set_norm(norm, weights: Mapping[str, np.ndarray], name: str) -> None:
    norm.gamma = weights[f"{name}/gamma"]
    norm.beta = weights[f"{name}/beta"]


def _sinusoids(length: int, hidden_size: int) -> np.ndarray:
    """Vaswani et al. 2017, as NeurST lays them out: sines, then cosines."""
    half = hidden_size // 2
    angles = np.outer(np.arange(length), 1e4 ** (-np.arange(half) / (half - 1)))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
