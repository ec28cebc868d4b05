"""Log-probabilities of given targets."""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tf_ls import ops
from tf_ls.models.transformer import HiddenStates, LSTransformer


class Scores(NamedTuple):
    """What a model thinks of B targets, of T tokens with padding; all float32.

    Logits and sums are float32 whatever the model computes in.

    Attributes:
        token_log_probs: [B, T], log p(token | source, tokens before it); zeros at padding.
        sentence_log_probs: [B], the sums of their tokens' log-probabilities; 0 without tokens.
        token_counts: [B], int32, the number of tokens: over several batches, the perplexity is
            exp(-sum(sentence_log_probs) / sum(token_counts)).
        perplexity: scalar, exp(-mean of the log-probabilities of all tokens); 1 if there are none.
    """

    token_log_probs: tf.Tensor
    sentence_log_probs: tf.Tensor
    token_counts: tf.Tensor
    perplexity: tf.Tensor


def score(model: LSTransformer, inputs: Mapping[str, tf.Tensor]) -> Scores:
    """Returns the log-probabilities of given targets. No more than some hundred logits are held.

    Args:
        model: without dropout, whatever its settings. (`tf_ls.neurst.scoring` is for NeurST's.)
        inputs: as for the model's `call`, and
            "trg": ids [B, T], the targets, of which "trg_input" is shifted right by one. Where
            "trg_input" is padding, so is "trg", whatever its ids are.

    Raises:
        ValueError: "trg" is missing, or not of the shape of "trg_input".
        tf.errors.InvalidArgumentError: the same where shapes are known at run time only, and ids
            outside the vocabulary.
    """
    check_targets(inputs)
    return score_hidden_states(model.hidden_states(inputs), inputs["trg"])


def check_targets(inputs: Mapping[str, tf.Tensor]) -> None:
    """Raises ValueError if there are no targets, or of another shape than the decoder's input."""
    if inputs.get("trg") is None:
        raise ValueError(f'expected targets as inputs["trg"], got {sorted(inputs)} only')
    targets, shifted = (tf.convert_to_tensor(inputs[name]).shape for name in ("trg", "trg_input"))
    if not targets.is_compatible_with(shifted):
        raise ValueError(f"expected trg of the shape of trg_input, {shifted}, got {targets}")


def score_hidden_states(hidden: HiddenStates, targets: tf.Tensor) -> Scores:
    """Returns the log-probabilities of targets [B, T] from what their logits are made of."""
    is_token = ops.unpack(
        tf.ones([tf.shape(hidden.values)[0], 1]), hidden.layout, hidden.batch_and_length
    )[..., 0]
    losses = ops.projected_cross_entropy(
        hidden.values, hidden.layout, *hidden.table, targets, is_token
    )
    return scores_of(losses.nlls, is_token)


def scores_of(nlls: tf.Tensor, is_token: tf.Tensor) -> Scores:
    """Returns scores from -log p [B, T], 0 at padding, and what is a token: float32 [B, T]."""
    log_probs = -nlls
    mean = tf.math.divide_no_nan(tf.reduce_sum(nlls), tf.reduce_sum(is_token))
    return Scores(
        token_log_probs=log_probs,
        sentence_log_probs=tf.reduce_sum(log_probs, axis=1),
        token_counts=tf.cast(tf.reduce_sum(is_token, axis=1), tf.int32),
        perplexity=tf.exp(mean),
    )
