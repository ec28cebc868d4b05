"""How much one request, and all that wait, may ask for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tf_ls.ops.search_options import SearchOptions
from tf_ls.serving.errors import invalid


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of a request, unless its name begins with `queue`; docs/serving.md says which flag is which.

    All but the first and the timeout concern models that tf_ls exported.
    """

    request_bytes: int = 8 << 20
    """Of a body or a message, and of each tensor in it."""

    sentences: int = 1024
    source_length: int = 1024
    """Tokens of a sentence."""

    beam_size: int = 16
    """The beam, and how many hypotheses are returned."""

    length: int = 1024
    """Tokens that a hypothesis may have: what `max_length` and `max_extra_length` allow."""

    work: int = 1 << 20
    """Tokens that all hypotheses of all sentences, beams counted, may have together."""

    attention: int = 1 << 18
    """Numbers of attention that all hypotheses that are returned may have together, if it is asked
    for: a long document of JSON."""

    timeout: float = 60.0
    """Seconds until a request is given up, and the longest that a client may ask for."""

    queue_sentences: int = 4096
    queue_tokens: int = 1 << 17

    queue_seconds: float = 2.0
    """How long a new request may have to wait, by what batches took so far."""

    queue_patience: float = 1.0
    """Seconds for which more may wait than the next batches take; then it is overload."""

    def check_generation(
        self, lengths: Sequence[int], options: SearchOptions, *, attention: bool = False
    ) -> None:
        """Checks what is to be generated from sentences of these lengths, with attention or not.

        Raises:
            ServingError: it is too much.
        """
        _at_most("sentences", len(lengths), self.sentences)
        width = 1 if options.method in ("greedy", "sampling") else options.beam_size
        for name, value in (("beam_size", width), ("num_hypotheses", options.num_hypotheses)):
            _at_most(name, value, self.beam_size)
        width = max(width, options.num_hypotheses)
        work = numbers = 0
        for index, length in enumerate(lengths):
            _at_most(f"tokens in sentence {index}", length, self.source_length)
            most = options.length_limit(length)
            if most > self.length:
                raise invalid(
                    f"hypotheses of sentence {index} may have {most} tokens by max_length,"
                    f" max_extra_length and min_length; this server makes at most {self.length}"
                )
            work += width * most
            numbers += options.num_hypotheses * most * length
        _at_most("work (sentences x beam x length)", work, self.work)
        if attention:
            name = "attention (sentences x num_hypotheses x length x source)"
            _at_most(name, numbers, self.attention)


def _at_most(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise invalid(f"{name}: this server takes at most {limit}, got {value}")
