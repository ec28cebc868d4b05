"""Tokens of one hypothesis while they are generated."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


def stream_tokens(function: Callable, inputs: Mapping[str, tf.Tensor]) -> Iterator[int]:
    """Yields tokens of the first hypothesis of the first row, its end included if it comes.

    The generation runs in a thread of its own. It stops when the iterator is closed.

    Args:
        function: a model's, which takes the number of a stream as `stream`.
        inputs: the others of its inputs.

    Raises:
        tf.errors.OpError: what the generation raises.
    """
    from tf_ls.inference.cancellation import Cancellation, Cancelled, call
    from tf_ls.ops.token_stream import TokenStream

    if hasattr(function, "get_concrete_function"):  # of a model that is no SavedModel
        function = function.get_concrete_function()
    cancellation, errors = Cancellation(), []

    def generate(stream: TokenStream) -> None:
        try:
            call(function, {**inputs, "stream": stream.number}, cancellation)
        except Cancelled:
            pass
        except Exception as error:  # raised where the tokens are read
            errors.append(error)
            stream.close()  # the call may have failed before it began

    with TokenStream() as stream:
        thread = threading.Thread(target=generate, args=[stream], name="generation", daemon=True)
        thread.start()
        try:
            while (new := stream.read()) is not None:
                yield from _tokens(new)
        except GeneratorExit:
            errors.clear()
            raise
        finally:
            cancellation.cancel()
            thread.join()
    if errors:
        raise errors[0]


def _tokens(new: Any) -> Iterator[int]:
    for sentence, sample, token in zip(new.sentences, new.samples, new.tokens):
        if sentence == 0 and sample == 0 and token >= 0:
            yield int(token)
