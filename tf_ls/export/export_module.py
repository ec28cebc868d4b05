"""A model that leaves the trainer as variables of one precision and functions on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Callable, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.calibration import Sentence
from tf_ls.export.int8 import in_int8
from tf_ls.export.precision import precision_of
from tf_ls.export.weights import map_weights

Tensors = dict[str, tf.Tensor]


class ExportModule(tf.Module):
    """What `save` writes. Its weights are copies, once each, of one precision.

    Attributes:
        model: what was exported; its weights are the variables here.
        int8_report: which matrices are in int8, and what it costs; None if that was not asked for.
    """

    def __init__(
        self, model: Any, precision: str, *, calibration: Optional[Sequence[Sentence]] = None
    ):
        """Copies weights.

        Args:
            model: what to export: a TranslationModel, a LanguageModel or an EncoderModel.
            precision: one of PRECISIONS.
            calibration: sentences to measure by what int8 costs, see `in_int8`.

        Raises:
            ValueError: an unknown precision, and what `in_int8` raises.
        """
        super().__init__()
        self._precision = precision
        types_of = precision_of(precision)
        self._dtype = tf.as_dtype(types_of.activations)
        self.int8_report = None
        weights = model.weights
        if types_of.is_int8:
            weights, self.int8_report = in_int8(model, self._dtype, calibration)
        copies = _Copies(tf.as_dtype(types_of.weights))
        weights = self._prepared(map_weights(copies.of, weights))
        self.model = dataclasses.replace(model, weights=weights)
        # tf.Module does not look into the weights' own classes for what to save.
        self._weights = copies.variables

    def signatures(self) -> dict[str, Callable]:
        """The functions to save, by the names of their signatures."""
        raise NotImplementedError

    def _prepared(self, weights: Any) -> Any:
        """The weights, which are variables now, as functions compute with them."""
        raise NotImplementedError

    def _int8_properties(self) -> Tensors:
        if self.int8_report is None:
            return {}
        names, losses, are_int8 = zip(*self.int8_report.matrices)
        return {
            "precision": tf.constant(self._precision),
            "matrices": tf.constant(names),
            "matrices_in_int8": tf.constant(are_int8),
            "matrix_losses": tf.constant(losses, tf.float32),
            "measure_of_losses": tf.constant(self.int8_report.measure),
        }


class _Copies:
    """Copies of weights as variables; what is shared stays shared."""

    def __init__(self, dtype: tf.DType):
        """Says what weights become that are not int8."""
        self._dtype = dtype
        self._copies: dict[int, tf.Variable | ops.Int8Weight] = {}
        self.variables: list[tf.Variable] = []

    def of(self, weight: tf.Tensor | ops.Int8Weight) -> tf.Variable | ops.Int8Weight:
        if id(weight) not in self._copies:
            if isinstance(weight, ops.Int8Weight):
                copy = ops.Int8Weight(*map(self._variable, weight))
            else:
                copy = self._variable(tf.cast(weight, self._dtype))
            self._copies[id(weight)] = copy
        return self._copies[id(weight)]

    def _variable(self, value: tf.Tensor) -> tf.Variable:
        name = f"weight_{len(self.variables)}"
        self.variables.append(tf.Variable(value, trainable=False, name=name))
        return self.variables[-1]
