"""A small LSTransformer, a batch for it, and the same in float64 with padding and masks."""

import numpy as np
import tensorflow as tf

from tf_ls.keras_version import KERAS_3
from tf_ls.models import LSTransformer
from tf_ls.testing import reference

SOURCE_WORDS, TARGET_WORDS, HIDDEN, HEADS = 13, 11, 12, 3
SOURCE_LENGTHS, TARGET_LENGTHS = [5, 2, 1, 4], [3, 6, 1, 2]
SETTINGS = {
    "vocab_size": SOURCE_WORDS,
    "trg_vocab_size": TARGET_WORDS,
    "hidden_size": HIDDEN,
    "intermediate_size": 20,
    "nhead": HEADS,
    "num_encoder_layer": 2,
    "num_decoder_layer": 2,
    "padding_idx": 0,
}
ONE_TABLE = {"trg_vocab_size": None, "share_source_target_embedding": True}


def ids(words, lengths, seed):
    """Ids [B, max(lengths)], 0 at padding only."""
    values = np.random.default_rng(seed).integers(1, words, [len(lengths), max(lengths)])
    return values * (np.arange(max(lengths)) < np.asarray(lengths)[:, None])


INPUTS = {
    "src": ids(SOURCE_WORDS, SOURCE_LENGTHS, 0),
    "trg_input": ids(TARGET_WORDS, TARGET_LENGTHS, 1),
}
REAL = INPUTS["trg_input"] != 0


def build(**changes):
    tf.keras.utils.set_random_seed(0)
    model = LSTransformer(**{**SETTINGS, **changes})
    rng = np.random.default_rng(1)
    model.set_weights([w + 0.2 * rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def variables(model):
    """The tf.Variables of a model by their names, as NeurST's model has them."""
    if KERAS_3:
        return {w.path.replace(".", "/"): w.value for w in model.weights}
    return {w.name.split(":")[0].split("/", 1)[1]: w for w in model.weights}


def padded_model(weights, settings):
    """The logits [B, T, V] from stock operations and float64 weights by name."""
    pre_norm = settings.get("pre_layer_norm", True)
    options = {
        "num_heads": HEADS,
        "pre_norm": pre_norm,
        "activation": settings.get("activation_fn", "relu"),
    }

    def of(prefix):
        return [w for name, w in weights.items() if name.startswith(prefix)]

    def embed(table, values):
        signal = reference.timing_signal(0, values.shape[1], HIDDEN)
        return tf.gather(table, values) * HIDDEN**0.5 + signal

    def norm(x, stack):
        return reference.layer_norm_tf(x, *of(f"{stack}/output_ln/")) if pre_norm else x

    tables = [w for name, w in weights.items() if name.endswith(("emb/weights", "shared/weights"))]
    memory = embed(tables[0], INPUTS["src"])
    for i in range(settings["num_encoder_layer"]):
        layer = of(f"TransformerEncoder/layer_{i}/")
        memory = reference.encoder_layer_tf(memory, SOURCE_LENGTHS, layer, **options)
    memory = norm(memory, "TransformerEncoder")
    x = embed(tables[-1], INPUTS["trg_input"])
    for i in range(settings["num_decoder_layer"]):
        layer = of(f"TransformerDecoder/layer_{i}/")
        x = reference.decoder_layer_tf(x, TARGET_LENGTHS, memory, SOURCE_LENGTHS, layer, **options)
    x = norm(x, "TransformerDecoder")
    if "softmax_linear/kernel" in weights:
        return x @ weights["softmax_linear/kernel"] + weights["softmax_linear/bias"]
    (bias,) = (w for name, w in weights.items() if name.endswith("shared/bias"))
    return tf.matmul(x, tables[-1], transpose_b=True) + bias
