"""Sentences that wait, and which of them go together."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Budget:
    """How large a batch may become. What is larger by itself goes alone."""

    tokens: int
    """Sentences times the longest of them."""

    sentences: int


@dataclasses.dataclass(eq=False)
class Item:
    """What is not divided: a sentence, or sentences that must stay together."""

    payload: Any
    sentences: int
    length: int
    """Of the longest."""

    owner: Any = None
    """Whose it is."""

    arrived: float = 0.0
    number: int = 0
    satisfied: bool = False
    """Whether its owner has all of it already, before the batch has ended."""

    @property
    def is_wanted(self) -> bool:
        return not (self.satisfied or self.owner.future.done())

    @property
    def tokens(self) -> int:
        return self.sentences * self.length


class BatchQueue:
    """Items in groups, of which those of one group may share a batch.

    A batch has the item that has waited longest, and those of its group that are nearest in length.

    Attributes:
        sentences: that wait.
        tokens: that wait, padding within items included.
    """

    def __init__(self):
        self.sentences = 0
        self.tokens = 0
        self._count = 0
        self._groups: dict[Hashable, _Group] = {}
        self._in_order: OrderedDict[int, tuple[Hashable, Item]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._in_order)

    def add(self, group: Hashable, item: Item) -> None:
        item.number = self._count
        self._count += 1
        self._in_order[item.number] = (group, item)
        self._groups.setdefault(group, _Group()).add(item)
        self.sentences += item.sentences
        self.tokens += item.tokens

    def remove(self, item: Item) -> None:
        """Takes an item out, if it is there."""
        if item.number in self._in_order:
            group, _ = self._in_order[item.number]
            self._forget(group, [item])

    def batches(self, budget: Budget) -> int:
        """Returns how many batches are needed for all, if they are as full as they may be."""
        return sum(group.batches(budget) for group in self._groups.values())

    def oldest(self) -> tuple[Hashable, Item]:
        return next(iter(self._in_order.values()))

    def owners(self) -> list[Any]:
        """Whose items wait, the oldest first."""
        return list(dict.fromkeys(item.owner for _, item in self._in_order.values()))

    def fills(self, group: Hashable, budget: Budget) -> bool:
        """Whether waiting for more cannot make the group's next batch larger by much."""
        waiting = self._groups[group]
        return waiting.tokens >= budget.tokens or waiting.sentences >= budget.sentences

    def take(self, budget: Budget) -> tuple[Hashable, list[Item]]:
        """Takes out the batch of the oldest item: its group, and items sorted by length."""
        group, oldest = self.oldest()
        items = self._groups[group].around(oldest, budget)
        self._forget(group, items)
        return group, items

    def _forget(self, group: Hashable, items: list[Item]) -> None:
        waiting = self._groups[group]
        for item in items:
            del self._in_order[item.number]
            waiting.remove(item)
            self.sentences -= item.sentences
            self.tokens -= item.tokens
        if not waiting.items:
            del self._groups[group]


class _Group:
    """Items by length, those of one length in order."""

    def __init__(self):
        self.items: list[tuple[int, int, Item]] = []
        self.sentences = 0
        self.tokens = 0

    def add(self, item: Item) -> None:
        bisect.insort(self.items, (item.length, item.number, item))
        self.sentences += item.sentences
        self.tokens += item.tokens

    def remove(self, item: Item) -> None:
        del self.items[self._place(item)]
        self.sentences -= item.sentences
        self.tokens -= item.tokens

    def batches(self, budget: Budget) -> int:
        fill = max(self.sentences / budget.sentences, self.tokens / budget.tokens)
        return math.ceil(fill)

    def _place(self, item: Item) -> int:
        return bisect.bisect_left(self.items, (item.length, item.number))

    def around(self, item: Item, budget: Budget) -> list[Item]:
        """The item and its neighbours, the nearest in length first, as many as the budget has."""
        first = self._place(item)
        last = first + 1  # behind it
        sentences, longest = item.sentences, item.length

        def fits(candidate: Item) -> bool:
            more = sentences + candidate.sentences
            tokens = more * max(longest, candidate.length)
            return more <= budget.sentences and tokens <= budget.tokens

        while True:
            shorter = self.items[first - 1][2] if first > 0 else None
            longer = self.items[last][2] if last < len(self.items) else None
            shorter = shorter if shorter is not None and fits(shorter) else None
            longer = longer if longer is not None and fits(longer) else None
            if shorter is None and longer is None:
                return [found for _, _, found in self.items[first:last]]
            if longer is None or (
                shorter is not None and item.length - shorter.length <= longer.length - item.length
            ):
                first -= 1
                sentences += shorter.sentences
            else:
                last += 1
                sentences += longer.sentences
                longest = longer.length
