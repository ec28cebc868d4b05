"""ops.decoder_layer, from a padded batch to a padded batch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.batches import LAYOUTS
from tf_ls.testing.case import Case, Inputs
from tf_ls.testing.cases import layer_inputs
from tf_ls.testing.shapes import random_heads, random_lengths

_NO_MEMORY = {"memory": None, "memory_batch": None, "memory_layout": None}


def make_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    heads, hidden = random_heads(rng)
    kind = str(rng.choice(LAYOUTS))
    lengths, length = random_lengths(rng, least=0 if kind == "packed" else 1)
    memory_size = int(rng.integers(1, 100)) if rng.random() < 0.75 else None
    weights = reference.decoder_weights(rng, hidden, int(rng.integers(1, 100)), memory_size)
    return {
        **layer_inputs.batch_inputs(rng, dtype, lengths, length, hidden, kind),
        **(_random_memory(rng, dtype, len(lengths), memory_size) if memory_size else _NO_MEMORY),
        **layer_inputs.random_structure(rng, dtype, weights),
        "num_heads": heads,
        "memory_lag": int(rng.integers(0, 25)) if memory_size and rng.integers(2) else None,
        "training": bool(rng.integers(2)),
    }


def _random_memory(rng, dtype, batch, size) -> Inputs:
    kind = str(rng.choice(LAYOUTS))
    lengths = rng.integers(0 if kind == "packed" else 1, rng.choice([2, 21]), batch).tolist()
    length = max([*lengths, 1]) + int(rng.integers(3))
    return layer_inputs.batch_inputs(rng, dtype, lengths, length, size, kind, prefix="memory")


def make_timing_inputs(rng: np.random.Generator, dtype: str) -> Inputs:
    hidden = layer_inputs.TIMED_HIDDEN
    lengths = layer_inputs.TIMED_LENGTHS
    weights = reference.decoder_weights(rng, hidden, layer_inputs.TIMED_FILTER, hidden)
    return {
        **layer_inputs.timed_batch_inputs(rng, dtype),
        **layer_inputs.batch_inputs(
            rng, dtype, lengths[::-1], max(lengths), hidden, "packed", prefix="memory"
        ),
        "weights": [tf.constant(w) for w in weights],
        "num_heads": layer_inputs.TIMED_HEADS,
        "training": True,
    }


def operation(x, batch, layout, memory, memory_batch, memory_layout, weights, **options):
    rows = ops.decoder_layer(
        batch.to_rows(x, layout),
        layout,
        None if memory is None else memory_batch.to_rows(memory, memory_layout),
        memory_layout,
        weights,
        **options,
    )
    return batch.from_rows(rows, layout)


def exact(
    x, batch, layout, memory, memory_batch, memory_layout, weights, num_heads, training, **options
):
    def layer(sentence, keys, b):
        seen = None if memory is None else memory[b, : memory_batch.lengths[b]]
        return reference.decoder_layer(sentence, seen, weights, num_heads, keys=keys, **options)

    return batch.each_sentence(layer)


def stock(
    x, batch, layout, memory, memory_batch, memory_layout, weights, num_heads, training, **options
):
    memory_lengths = None if memory is None else memory_batch.lengths
    output = reference.decoder_layer_tf(
        x, batch.lengths, memory, memory_lengths, weights, num_heads, **options
    )
    return batch.without_padding(output)


CASE = Case(
    "decoder_layer",
    make_inputs,
    operation,
    reference=exact,
    gradient_reference=stock,
    stock=stock,
    make_timing_inputs=make_timing_inputs,
    kernels=(
        *("LSDecoderLayer", "LSDecoderLayerGrad", "LSEncoderLayer", "LSEncoderLayerGrad"),
        *("LSPack", "LSUnpack"),
    ),
)
