"""Tokens on their way out of a generation that runs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tf_ls.library import library
from tf_ls.ops.host import on_host


class NewTokens(NamedTuple):
    """N tokens in the order in which they came."""

    sentences: np.ndarray
    """int64 [N], the row of the batch."""

    samples: np.ndarray
    """int64 [N], which of the row's samples; 0 of a search."""

    tokens: np.ndarray
    """int64 [N]; -1 where a hypothesis has ended without one: it had reached its maximum length
    before, or no token might follow."""

    log_probs: np.ndarray
    """float32 [N], as in `Generated`."""

    are_last: np.ndarray
    """bool [N], whether the hypothesis has ended. Each does once."""


class TokenStream:
    """What one call of `generate` tells of its tokens while it runs.

    The call runs in one thread, and another reads:

        with tf_ls.ops.TokenStream() as stream:
            thread = threading.Thread(target=lambda: generate(..., stream=stream.number))
            thread.start()
            while (tokens := stream.read()) is not None:
                ...

    Tokens are those that the call returns, without the prefix. The call does not wait for who
    reads: what was not read yet is kept.

    Attributes:
        number: int64 scalar, what operations know it by.
    """

    def __init__(self):
        """Opens it. (Eagerly: it is no part of a graph.)"""
        with on_host():
            self.number = library.ops.ls_open_token_stream()

    def read(self) -> NewTokens | None:
        """Returns what has come since the last time.

        Waits for the next token if that is nothing; other threads of Python go on.

        Returns:
            The tokens; None once the call has ended and all was read, or the stream is closed.
        """
        with on_host():
            columns = library.ops.ls_read_token_stream(stream=self.number)
        tokens = NewTokens(*[column.numpy() for column in columns])
        return tokens if len(tokens.tokens) else None

    def close(self) -> None:
        """Ends the wait of who reads, and forgets what was not read. The call goes on."""
        with on_host():
            library.ops.ls_close_token_stream(stream=self.number)

    def __enter__(self) -> TokenStream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
