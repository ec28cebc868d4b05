"""Hypotheses that were found, held against the reference's where rounding may decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

import numpy as np
import tensorflow as tf

from tf_ls.ops import Generated
from tf_ls.testing.reference_search import Model

TIE = 1e-5


def found_of(generated: Union[Generated, Mapping[str, tf.Tensor]]) -> list[list[tuple[int, ...]]]:
    """The tokens of each sentence's hypotheses."""
    outputs = generated if isinstance(generated, Mapping) else generated._asdict()
    parts = [outputs[name].numpy() for name in ("tokens", "lengths", "scores")]
    return [
        [
            tuple(int(token) for token in tokens[:length])
            for tokens, length, score in zip(*of_sentence)
            if length > 0 or score > -np.inf
        ]
        for of_sentence in zip(*parts)
    ]


def perturbed(model: Model, noise: int, sentence: int) -> Model:
    """A model whose logits differ by as little as those of float32 may; each noise does so anew."""

    def noisy(prefixes):
        made = model(prefixes)
        logits, *attention = made if isinstance(made, tuple) else (made,)
        rngs = [np.random.default_rng([noise, sentence, *prefix]) for prefix in prefixes]
        logits = logits + np.array([TIE / 10 * rng.normal(size=logits.shape[1]) for rng in rngs])
        return (logits, *attention) if attention else logits

    return noisy
