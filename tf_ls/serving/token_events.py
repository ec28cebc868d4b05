"""What a stream of tokens consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable, NamedTuple, Optional

import numpy as np

EOS, LENGTH, NOTHING_LEFT = "eos", "length", "nothing_left"


class Told(NamedTuple):
    """What the model says of a hypothesis of a request while it generates."""

    prompt: int
    """The row of the request."""

    hypothesis: int
    """Of the prompt; samples are counted."""

    index: int
    """Of the token in the continuation."""

    token: int
    """-1: none came, the hypothesis has just ended."""

    log_prob: float

    text: Optional[str]
    """What the token adds to the text; None if nobody asked for text."""

    is_last: bool


# Is told what comes, from any thread.
Listener = Callable[[Sequence[Told]], None]


class Continuation(NamedTuple):
    """A hypothesis at its end."""

    length: int
    """Tokens, EOS included."""

    finish_reason: str
    """eos; length: it is as long as it may be; nothing_left: no token was allowed to follow."""

    text: Optional[str]


class End(NamedTuple):
    """The last event: all hypotheses of each prompt."""

    continuations: list[list[Continuation]]

    @property
    def tokens(self) -> int:
        return sum(one.length for of_prompt in self.continuations for one in of_prompt)


class Assembly:
    """The hypotheses of one request, from what is told of them."""

    def __init__(self, limits: Sequence[int], hypotheses: int, eos: int):
        """Nothing has come yet.

        Args:
            limits: how many tokens may come behind each prompt.
            hypotheses: of each prompt.
            eos: ends one.
        """
        self._limits, self._eos = limits, eos
        self._tokens: list[list[list[int]]] = [[[] for _ in range(hypotheses)] for _ in limits]
        self._texts: list[list[list[str]]] = [[[] for _ in range(hypotheses)] for _ in limits]
        self._open = {(i, j) for i in range(len(limits)) for j in range(hypotheses)}
        self._of_text = False

    @property
    def complete(self) -> bool:
        return not self._open

    def add(self, told: Told) -> bool:
        """Takes a token; returns whether it is news: a batch that failed is made once more.

        Raises:
            RuntimeError: it is not the one that came before.
        """
        tokens = self._tokens[told.prompt][told.hypothesis]
        if told.token >= 0 and told.index < len(tokens):
            if tokens[told.index] != told.token:
                raise RuntimeError("a batch that was made again has other tokens")
            return False
        is_new = told.token >= 0
        if is_new:
            tokens.append(told.token)
        self._of_text = told.text is not None
        self._texts[told.prompt][told.hypothesis].append(told.text or "")
        if told.is_last:
            self._open.discard((told.prompt, told.hypothesis))
        return is_new

    def end(self) -> End:
        return End(
            [
                [
                    Continuation(
                        len(tokens),
                        self._reason(tokens, limit),
                        "".join(texts) if self._of_text else None,
                    )
                    for tokens, texts in zip(of_prompt, texts_of_prompt)
                ]
                for of_prompt, texts_of_prompt, limit in zip(
                    self._tokens, self._texts, self._limits
                )
            ]
        )

    def _reason(self, tokens: Sequence[int], limit: int) -> str:
        if tokens and tokens[-1] == self._eos:
            return EOS
        return LENGTH if len(tokens) >= limit else NOTHING_LEFT


def as_number(log_prob: float) -> float:
    """A float32 as the shortest decimal that is it."""
    return float(str(np.float32(log_prob)))
