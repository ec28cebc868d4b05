"""Small models of transformers, with random weights and without dropout, and batches for them."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest
import tensorflow as tf

transformers = pytest.importorskip("transformers")
if not hasattr(transformers, "TFBertModel"):
    pytest.skip("transformers 5 has no TensorFlow models", allow_module_level=True)

from transformers.modeling_tf_utils import keras  # noqa: E402, F401

VOCABULARY = 60
LENGTHS = (9, 4, 6)

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "initializer_range": 0.3,
}


def encoder(name: str = "TFBertModel", **settings: Any) -> Any:
    """A model of one of the families that share BERT's layers, such as TFRobertaModel."""
    cls = getattr(transformers, name)
    return cls(cls.config_class(**{**SIZES, **settings}))


def gpt2(name: str = "TFGPT2LMHeadModel", **settings: Any) -> Any:
    sizes = {
        "vocab_size": VOCABULARY,
        "n_positions": 40,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "initializer_range": 0.3,
    }
    return getattr(transformers, name)(transformers.GPT2Config(**{**sizes, **settings}))


def batch(padding: str = "right") -> dict[str, Any]:
    """Ids and attention mask of three sentences with padding on the right, the left or nowhere."""
    length = max(LENGTHS)
    mask = np.ones((len(LENGTHS), length), np.int32)
    if padding != "none":
        mask = (np.arange(length) < np.array(LENGTHS)[:, None]).astype(np.int32)
    if padding == "left":
        mask = mask[:, ::-1]
    ids = np.random.RandomState(0).randint(2, VOCABULARY, mask.shape).astype(np.int32)
    return {"input_ids": tf.constant(ids), "attention_mask": tf.constant(mask.copy())}


def at_tokens(values: tf.Tensor, inputs: dict[str, Any]) -> np.ndarray:
    """Rows [tokens, H] of [B, L, H]."""
    return np.asarray(values)[np.asarray(inputs["attention_mask"]).astype(bool)]


def gradients(model: Any, inputs: dict[str, Any], read: Any) -> dict[str, np.ndarray]:
    """Of a sum of what `read` takes from the model's output, by name of the variable."""
    with tf.GradientTape() as tape:
        outputs = read(model(**inputs, training=True))
        loss = sum(
            tf.reduce_sum(tf.sin(tf.cast(output, tf.float32)) * weight)
            for output, weight in outputs
        )
    variables = model.trainable_variables
    return {
        variable.name: np.asarray(tf.convert_to_tensor(gradient))
        for variable, gradient in zip(variables, tape.gradient(loss, variables))
        if gradient is not None
    }


def fused_operations(
    function: Callable[[], Any], kind: str = "LSEncoderLayer"
) -> list[tf.Operation]:
    """The operations of a kind in a function without arguments."""
    graph = tf.function(function).get_concrete_function().graph
    return [operation for operation in graph.get_operations() if operation.type == kind]


def encode(model: Any, inputs: dict[str, Any], **more: Any) -> Callable[[], tf.Tensor]:
    """A function that returns the first output of a model."""
    return lambda: model(**inputs, **more)[0]
