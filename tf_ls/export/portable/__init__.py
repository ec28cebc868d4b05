"""Generation in TensorFlow's own operations alone, for who cannot load a library of operations.

A second implementation of docs/generation.md: all sentences and all hypotheses side by side, in one
tf.while_loop. It is slower than the operation, and finds the same.

    generation   a model and options in, hypotheses out
    model        the encoder; the decoder, one position at a time
    search       the loop: what becomes of hypotheses, until all have ended
    beams        hypotheses side by side, and choosing among them
    scores       what ranks hypotheses
    exclusion    what changes logits, or takes tokens out
    sampling     the draw of a token
    noise        the random numbers of the draw
    options      checked and as tensors
    checks       how wrong input is refused
"""

from tf_ls.export.portable.generation import generate

__all__ = ["generate"]
