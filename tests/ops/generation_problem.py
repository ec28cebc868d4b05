"""Random decoders and sentences for ops.generate, and what the float64 reference finds for them."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf
from found_hypotheses import perturbed

from tf_ls import ops
from tf_ls.testing import reference
from tf_ls.testing.reference_decoder import decoder_model
from tf_ls.testing.reference_search import Options, search

HIDDEN, FILTER, HEADS, MEMORY, VOCABULARY = 12, 20, 3, 10, 11
START, EOS = 7, 2


class Problem:
    """A random decoder and sentences for it."""

    def __init__(self, seed=0, lengths=(5, 3, 8), *, vocabulary=VOCABULARY, layers=2, **structure):
        rng = np.random.default_rng(seed)
        memory_size = None if lengths is None else MEMORY
        weights = [
            reference.decoder_weights(rng, HIDDEN, FILTER, memory_size) for _ in range(layers)
        ]
        bias = 0.3 * rng.normal(size=vocabulary)
        bias[EOS] += 0.7
        given_structure = {
            "scale": 2.0,
            "positions": "sinusoids",
            "norm": (1.0 + 0.1 * rng.normal(size=HIDDEN), 0.1 * rng.normal(size=HIDDEN)),
            "output_weights": 0.7 * rng.normal(size=(vocabulary, HIDDEN)),
            "output_bias": bias,
            **structure,
        }
        self.decoder = as_float32(
            ops.Decoder(
                layers=weights,
                table=rng.normal(size=(vocabulary, HIDDEN)),
                num_heads=HEADS,
                **given_structure,
            )
        )
        self.lengths = lengths
        self.batch = 3 if lengths is None else len(lengths)
        if lengths is not None:
            longest = max(lengths, default=0)
            self.memory = rng.normal(size=(self.batch, longest, MEMORY)).astype(np.float32)
        self.starts = [START] + [int(i) for i in rng.integers(0, vocabulary, self.batch)]
        self.starts = self.starts[: self.batch]

    @functools.cached_property
    def models(self):
        return [
            decoder_model(self.decoder, self.memory_of(i), self.starts[i])
            for i in range(self.batch)
        ]

    def memory_of(self, i):
        return None if self.lengths is None else self.memory[i, : self.lengths[i]]

    def source_length(self, i):
        return None if self.lengths is None else self.lengths[i]

    def generate(
        self,
        options,
        prefixes=None,
        dtype="float32",
        sentences=None,
        padding=0,
        decoder=None,
        **more,
    ):
        """Calls the operation for the sentences of these numbers, all unless given.

        The decoder, which may be one that is packed, stands in place of the problem's own.
        """
        chosen = list(range(self.batch)) if sentences is None else sentences
        memory = lengths = None
        if self.lengths is not None:
            memory = np.pad(self.memory[chosen], [(0, 0), (0, padding), (0, 0)])
            memory[:, memory.shape[1] - padding :] = np.nan  # which nobody must look at
            memory = tf.constant(memory, dtype)
            lengths = [self.lengths[i] for i in chosen]
        if prefixes is not None:
            more["prefix"] = tf.ragged.constant([prefixes[i] for i in chosen], dtype=tf.int64)
        return ops.generate(
            decoder or as_tensors(self.decoder),
            memory,
            lengths if lengths is None else tf.constant(lengths, tf.int64),
            tf.constant([self.starts[i] for i in chosen], tf.int64),
            without_prefix(options),
            dtype=dtype,
            **more,
        )

    def expected(self, options, prefixes=None, noise=None):
        """Returns the reference's hypotheses of each sentence; noise is added to the logits."""
        found = []
        for i, model in enumerate(self.models):
            own = options
            if noise is not None:
                model = perturbed(model, noise, i)
            if prefixes is not None:
                own = Options(**{**vars(options), "prefix": tuple(prefixes[i])})
            found.append(search(model, own, self.source_length(i), row=i))
        return found


def as_float32(stack):
    def convert(value):
        if isinstance(value, (list, tuple)):
            return [convert(part) for part in value]
        return value.astype(np.float32) if isinstance(value, np.ndarray) else value

    fields = dataclasses.fields(stack)
    return type(stack)(**{field.name: convert(getattr(stack, field.name)) for field in fields})


def as_tensors(stack, dtype=tf.float32):
    def convert(value):
        if isinstance(value, (list, tuple)):
            return [convert(part) for part in value]
        return tf.constant(value, dtype) if isinstance(value, np.ndarray) else value

    fields = dataclasses.fields(stack)
    return type(stack)(**{field.name: convert(getattr(stack, field.name)) for field in fields})


def without_prefix(options):
    values = dict(vars(options))
    values.pop("prefix", None)
    return ops.SearchOptions(**values)


@functools.cache
def problem_of(seed=0, **arguments):
    return Problem(seed, **arguments)


def options_of(method, **more):
    return Options(eos=EOS, method=method, **{"max_length": 9, **more})
