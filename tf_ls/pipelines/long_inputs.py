"""What happens to texts of more tokens than a model takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Optional

ERROR, TRUNCATE, SPLIT = "error", "truncate", "split"


class TooLong(ValueError):
    """A text has more tokens than the model takes.

    Attributes:
        tokens: how many it has, special ones included.
        allowed: how many it may have.
    """

    def __init__(self, tokens: int, allowed: int, ways: Sequence[str]):
        instead = " or ".join(repr(way) for way in ways if way != ERROR)
        super().__init__(
            f"the text has {tokens} tokens, special ones included, and the model takes {allowed}:"
            f" shorten it, or choose long_inputs={instead}"
        )
        self.tokens, self.allowed = tokens, allowed


@dataclasses.dataclass(frozen=True)
class LongInputs:
    """How many tokens a model takes, and what happens to texts that have more."""

    limit: Optional[int]
    """Special tokens included; None: any number."""

    way: str = ERROR
    """error: they are refused (TooLong). truncate: they are cut. split: into windows."""

    stride: int = 0
    """How many tokens a window has in common with the next."""

    ways: tuple[str, ...] = (ERROR, TRUNCATE, SPLIT)
    """Which there are, of the task."""

    def __post_init__(self):
        if self.way not in self.ways:
            raise ValueError(f"long_inputs must be one of {', '.join(self.ways)}; got {self.way!r}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"max_length must be at least 1, got {self.limit}")
        if self.stride and self.way != SPLIT:
            raise ValueError(f"stride is for long_inputs='split', not for {self.way!r}")
        if self.stride < 0:
            raise ValueError(f"stride must be at least 0, got {self.stride}")

    def too_long(self, tokens: int) -> bool:
        """Whether a text of so many tokens, special ones included, has to be cut or split.

        Raises:
            TooLong: it has too many, and neither is wanted.
        """
        if self.limit is None or tokens <= self.limit:
            return False
        if self.way == ERROR:
            raise TooLong(tokens, self.limit, self.ways)
        return True

    def room(self, special: int) -> int:
        """How many tokens of the text fit beside special ones.

        Raises:
            ValueError: none do, or not more than windows have in common.
        """
        room = self.limit - special
        if room <= self.stride:
            raise ValueError(
                f"of {self.limit} tokens {special} are special, so that {room} are the text's: more"
                f" than the stride of {self.stride} are needed"
            )
        return room


def smallest(*limits: Optional[int]) -> Optional[int]:
    """Returns the smallest of limits, of which None is none."""
    return min((limit for limit in limits if limit is not None), default=None)
