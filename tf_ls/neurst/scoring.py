"""Log-probabilities of given targets under NeurST's encoder-decoder models."""

from __future__ import annotations

import tensorflow as tf
from neurst.models.encoder_decoder_model import EncoderDecoderModel

from tf_ls import ops
from tf_ls.layers.embedding_layer import OutputTable
from tf_ls.models.scoring import Scores, check_targets, score_hidden_states, scores_of
from tf_ls.models.transformer import HiddenStates
from tf_ls.neurst import packed_model


def score(model: EncoderDecoderModel, inputs: dict[str, tf.Tensor]) -> Scores:
    """As `tf_ls.models.score`, for an EncoderDecoderModel of NeurST that has its variables.

    What does not run packed is scored by its logits.

    Args:
        inputs: those of NeurST's training: "src", "src_padding" or "src_length", "trg_input",
            "trg", "trg_padding" or "trg_length".

    Raises:
        ValueError, tf.errors.InvalidArgumentError: as `tf_ls.models.score`.
    """
    check_targets(inputs)
    packed = packed_model.packed_states(model, inputs)
    if packed is not None:
        rows, layout, table = packed
        shape = tf.shape(inputs["trg_input"])
        return score_hidden_states(
            HiddenStates(rows, layout, OutputTable(*table), shape), inputs["trg"]
        )
    output = model(inputs, is_training=False)
    logits = output["logits"] if isinstance(output, dict) else output
    is_token = 1.0 - packed_model.padding_of(inputs, "trg", tf.shape(inputs["trg"]))
    return scores_of(ops.cross_entropy(logits, inputs["trg"], is_token).nlls, is_token)
