"""Post-training quantisation: a model with its matrices in int8, as far as that costs little.

Rows are rounded when the model runs (`ops.Int8Weight`): nothing has to be known of them beforehand.
Sentences tell which matrices had better not be rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Optional

import tensorflow as tf

from tf_ls import ops
from tf_ls.export.calibration import Calibration, Sentence
from tf_ls.export.encoder_model import EncoderModel
from tf_ls.export.language_model import LanguageModel
from tf_ls.export.translation_model import TranslationModel
from tf_ls.export.weights import Matrix, ModelWeights, matrices_of, replaced
from tf_ls.files.quantization import Quantized, quantize

# The largest losses of a matrix that is rounded.
MOST_NATS = 0.02
MOST_ERROR = 0.03

NATS = "mean change of a token's log-probability"
ERROR = "relative error of the matrix"


class MatrixReport(NamedTuple):
    """What int8 costs a matrix."""

    name: str
    loss: float
    """With only this matrix in int8, in terms of the report's measure."""

    is_int8: bool


class Int8Report(NamedTuple):
    """What became of a model."""

    matrices: list[MatrixReport]
    measure: str
    """NATS, or without sentences ERROR."""

    limit: float
    """The largest loss of a matrix that is in int8."""

    loss: Optional[float]
    """Of all that is in int8 together; None without sentences."""

    def __str__(self) -> str:
        kept = [f"{m.name} ({m.loss:.4f})" for m in self.matrices if not m.is_int8]
        worst = max((m for m in self.matrices if m.is_int8), key=lambda m: m.loss, default=None)
        parts = [f"{len(self.matrices) - len(kept)} of {len(self.matrices)} matrices are in int8"]
        if worst is not None:
            parts.append(f"{self.measure}: at most {worst.loss:.4f}, {worst.name}")
        if self.loss is not None:
            parts.append(f"of all together: {self.loss:.4f}")
        parts.append(f"in float32, beyond {self.limit}: {', '.join(kept) or 'none'}")
        return "; ".join(parts)


def in_int8(
    model: TranslationModel | LanguageModel | EncoderModel,
    dtype: tf.DType,
    sentences: Optional[Sequence[Sentence]] = None,
) -> tuple[ModelWeights, Int8Report]:
    """Rounds the matrices of a model.

    Args:
        model: of float weights.
        dtype: what layers compute in.
        sentences: to measure by what int8 costs each matrix: the mean change of the
            log-probabilities of the model's own translations with only this matrix in int8. None:
            the matrix's own relative error.

    Returns:
        The weights, those of int8 as `ops.Int8Weight`, and what was measured.

    Raises:
        ValueError: a matrix has an infinity or a NaN; sentences that are none of the model's, or
            for a model that does not translate.
    """
    if sentences is not None and not isinstance(model, TranslationModel):
        raise ValueError("calibration is for models that translate")
    matrices = [m for m in matrices_of(model.weights) if m.weight.shape[0] > 1]
    quantized = [_quantized(matrix) for matrix in matrices]
    int8 = {
        id(matrix.weight): ops.Int8Weight(tf.constant(q.numbers), tf.constant(q.scales))
        for matrix, q in zip(matrices, quantized)
    }
    if sentences is None:
        losses, measure, limit = [q.error for q in quantized], ERROR, MOST_ERROR
    else:
        calibration = Calibration(model, dtype, sentences)
        measure, limit = NATS, MOST_NATS
        losses = [
            calibration.loss({id(matrix.weight): int8[id(matrix.weight)]}) for matrix in matrices
        ]
    chosen = {
        id(m.weight): int8[id(m.weight)] for m, loss in zip(matrices, losses) if loss <= limit
    }
    report = Int8Report(
        [MatrixReport(m.name, loss, id(m.weight) in chosen) for m, loss in zip(matrices, losses)],
        measure,
        limit,
        None if sentences is None else calibration.loss(chosen),
    )
    return replaced(model.weights, chosen), report


def _quantized(matrix: Matrix) -> Quantized:
    try:
        return quantize(matrix.weight.numpy(), outputs_are_rows=matrix.outputs_are_rows)
    except ValueError as error:
        raise ValueError(f"{matrix.name}: {error}") from error
