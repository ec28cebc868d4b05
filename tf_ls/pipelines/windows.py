"""Texts as windows of tokens, and outputs of windows as outputs of the text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Window:
    """Tokens of a text that are computed together, S of them; the whole text, if it is not long."""

    ids: Sequence[int]
    types: Sequence[int]
    spans: Sequence[tuple[int, int]]
    """Of characters of the text; (0, 0) of special tokens."""

    is_special: Sequence[bool]
    """Whether the tokenizer put a token around the text's."""

    begin: int = 0
    """How many of the text's tokens are in front of the window's first."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class Token:
    """A token of a text, in the window that knows most of what is around it."""

    window: int
    place: int
    """In the window."""

    id: int
    span: tuple[int, int]
    is_special: bool


def tokens_of(windows: Sequence[Window]) -> list[Token]:
    """Returns the tokens of a text, each once, in their order.

    A token that several windows have comes from the one in which it is farthest from where the
    window cuts the text. Special tokens in front come from the first window, those behind from the
    last; those between (of pairs) there are in texts of one window alone.
    """
    last = len(windows) - 1
    if not last:
        return [_token(windows, 0, place) for place in range(len(windows[0]))]
    inner = [
        [p for p, special in enumerate(window.is_special) if not special] for window in windows
    ]
    best: dict[int, tuple[float, int, int]] = {}
    for i, (window, places) in enumerate(zip(windows, inner)):
        for k, place in enumerate(places):
            before = math.inf if i == 0 else k
            behind = math.inf if i == last else len(places) - 1 - k
            number, context = window.begin + k, min(before, behind)
            if number not in best or context > best[number][0]:
                best[number] = (context, i, place)
    front = [(0, place) for place in range(inner[0][0])]
    middle = [best[number][1:] for number in sorted(best)]
    back = [(last, place) for place in range(inner[last][-1] + 1, len(windows[last]))]
    return [_token(windows, *where) for where in (*front, *middle, *back)]


def joined(tokens: Sequence[Token], outputs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the outputs [T, ...] of tokens, of outputs [S, ...] of each window."""
    return np.stack([outputs[token.window][token.place] for token in tokens])


def _token(windows: Sequence[Window], window: int, place: int) -> Token:
    of: Any = windows[window]
    return Token(window, place, of.ids[place], of.spans[place], of.is_special[place])
