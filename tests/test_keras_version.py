"""Keras 3 on another backend than TensorFlow is refused with a sentence that says what to do."""

import importlib

import pytest
import tensorflow as tf

from tf_ls import keras_version


@pytest.mark.skipif(not keras_version.KERAS_3, reason="Keras 2 runs on TensorFlow alone")
def test_keras_on_another_backend(monkeypatch):
    monkeypatch.setattr(tf.keras.backend, "backend", lambda: "jax")
    with pytest.raises(ImportError, match=r"Keras runs on jax: set KERAS_BACKEND=tensorflow"):
        importlib.reload(keras_version)
