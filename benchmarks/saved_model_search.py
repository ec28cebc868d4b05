"""The beam search of a SavedModel that tf_ls has exported, as who serves it calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

import tf_ls  # noqa: F401  for TensorFlow to know the operations


class SavedModelSearch:
    """What NeurSTSearch does, by a model that its `export` has written."""

    def __init__(self, path: Path):
        self._model = tf.saved_model.load(str(path))
        self._options = {}

    def __call__(self, source: np.ndarray, beam_size: int, length: int) -> np.ndarray:
        """As NeurSTSearch."""
        function = self._model.signatures["serving_with_options"]
        options = self._options_of(beam_size, length)
        return function(source=tf.constant(source), **options)["tokens"].numpy()[:, 0]

    def _options_of(self, beam_size: int, length: int) -> dict[str, tf.Tensor]:
        if (beam_size, length) not in self._options:
            options = self._model.signatures["default_options"]()
            changes = {"beam_size": beam_size, "min_length": length - 1, "max_length": length}
            options.update({name: tf.constant(n, tf.int64) for name, n in changes.items()})
            self._options[beam_size, length] = options
        return self._options[beam_size, length]
