"""BERT and GPT-2 of random weights, from one seed, as model files have them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tf_ls import files

STANDARD_DEVIATION = 0.02


def random_bert(layers: int, hidden: int, heads: int, words: int) -> files.Model:
    """Returns a BERT as Devlin et al. 2018 initialize it; its padding is 0."""
    settings = {
        "head_num": heads,
        "src_padding_id": 0,
        "is_post_ln": True,
        "activation": "gelu_nonapprox",
        "epsilon": 1e-12,
    }
    return _random(files.Model("bert", settings), layers, hidden, words, 512)


def random_gpt2(layers: int, hidden: int, heads: int, words: int) -> files.Model:
    """Returns a GPT-2; its end of a text is the last word."""
    settings = {
        "head_num": heads,
        "src_padding_id": -1,
        "eos_id": words - 1,
        "sampling_method": "topk",
        "topk": 1,
        "extra_decode_length": 50,
        "activation": "gelu",
        "use_gelu": True,
        "epsilon": 1e-5,
    }
    return _random(files.Model("gpt", settings), layers, hidden, words, 1024)


def _random(
    model: files.Model, layers: int, hidden: int, words: int, positions: int
) -> files.Model:
    """Sets normally distributed weights; those of heads are left out."""
    rng = np.random.default_rng(0)
    sizes: dict[Any, int] = {"H": hidden, "I": 4 * hidden, "V": words, "P": positions, "T": 2}
    places = {"src_embedding": "src_embedding"}
    places.update({f"encoder_stack/{i}": "encoder_stack" for i in range(layers)})
    for place, part in places.items():
        for name, field in model.family.parts[part].fields.items():
            shape = [sizes.get(size, size) for size in field.shape]
            numbers = STANDARD_DEVIATION * rng.standard_normal(shape, np.float32)
            model.put(f"{place}/{name}", numbers + ("norm_scale" in name))
    return model
